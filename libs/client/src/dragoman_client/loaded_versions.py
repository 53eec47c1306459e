# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What workers hold, as one picture: pools hold different models, and each is asked at an address of its own.

WatchLoaded of every address, followed side by side -> the versions of all, whenever one of them has something to say
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_client.rpc_errors import explained
from dragoman_common.errors import DeadlineExceededError, DragomanError, UnavailableError

_PAUSE_S = 0.5

_News = asyncio.Queue[tuple[str, list[worker_pb2.LoadedVersion] | DragomanError]]


class LoadedVersions:
    """Asks one worker of each pool; stubs are by address."""

    def __init__(self, stubs: Mapping[str, "worker_pb2_grpc.WorkerServiceAsyncStub"]) -> None:
        self._stubs = dict(stubs)

    async def watch(self, *, timeout_s: float) -> AsyncGenerator[list[worker_pb2.LoadedVersion]]:
        """All that they hold of the tenant's versions: once every one has spoken, and again at each change.

        A pool without a worker adds nothing, and is asked again while others answer.

        Raises:
            UnavailableError: no address is known, or none answers.
            DeadlineExceededError: after `timeout_s`.
        """
        if not self._stubs:
            raise UnavailableError("no worker's address is known: add worker=host:port to DRAGOMAN_SERVICES")
        news: _News = asyncio.Queue()
        said: dict[str, list[worker_pb2.LoadedVersion] | DragomanError] = {}
        tasks = [
            asyncio.create_task(_follow(target, stub, news, timeout_s)) for target, stub in sorted(self._stubs.items())
        ]
        try:
            while True:
                target, latest = await news.get()
                said[target] = latest
                if isinstance(latest, DeadlineExceededError):
                    raise latest
                if len(said) < len(tasks):
                    continue
                held = [versions for versions in said.values() if not isinstance(versions, DragomanError)]
                if not held and isinstance(latest, DragomanError):
                    raise latest
                yield [version for versions in held for version in versions]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(target: str, stub: "worker_pb2_grpc.WorkerServiceAsyncStub", news: _News, timeout_s: float) -> None:
    while True:
        try:
            with explained(target):
                async for message in stub.WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=timeout_s):
                    await news.put((target, list(message.versions)))
            await news.put((target, UnavailableError(f"{target} ended the watch; it may be restarting")))
        except UnavailableError as error:
            await news.put((target, error))
        except DragomanError as error:
            await news.put((target, error))
            return
        await asyncio.sleep(_PAUSE_S)
