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
_FIRST_WORD_S = 2.0
"""How long those that have spoken wait for the others: one whose machine died is silent, and has its address still."""

_News = asyncio.Queue[tuple[str, list[worker_pb2.LoadedVersion] | DragomanError]]


class LoadedVersions:
    """Asks one worker of each pool; stubs are by address."""

    def __init__(self, stubs: Mapping[str, "worker_pb2_grpc.WorkerServiceAsyncStub"]) -> None:
        self._stubs = dict(stubs)

    async def watch(self, *, timeout_s: float) -> AsyncGenerator[list[worker_pb2.LoadedVersion]]:
        """All that they hold of the tenant's versions: once every one has spoken, and again at each change.

        A pool without a worker, or with one that is silent, adds nothing, and is asked again while others answer.

        Raises:
            UnavailableError: no address is known, or none answers.
            DeadlineExceededError: after `timeout_s`.
        """
        if not self._stubs:
            raise UnavailableError("no worker's address is known: add worker=host:port to DRAGOMAN_SERVICES")
        news: _News = asyncio.Queue()
        said: dict[str, list[worker_pb2.LoadedVersion] | DragomanError] = {}
        now_s = asyncio.get_running_loop().time
        ends_s, patient_until_s = now_s() + timeout_s, now_s() + min(_FIRST_WORD_S, timeout_s)
        tasks = [
            asyncio.create_task(_follow(target, stub, news, ends_s)) for target, stub in sorted(self._stubs.items())
        ]
        try:
            while True:
                is_waiting = len(said) < len(tasks) and now_s() < patient_until_s
                try:
                    async with asyncio.timeout_at(patient_until_s if is_waiting else ends_s):
                        target, latest = await news.get()
                        said[target] = latest
                except TimeoutError:
                    if now_s() >= ends_s:
                        raise DeadlineExceededError(f"the workers were asked for {timeout_s:g} s") from None
                held = [versions for versions in said.values() if not isinstance(versions, DragomanError)]
                errors = [error for error in said.values() if isinstance(error, DragomanError)]
                if len(errors) == len(tasks):
                    raise errors[-1]
                if held and (len(said) == len(tasks) or now_s() >= patient_until_s):
                    yield [version for versions in held for version in versions]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(target: str, stub: "worker_pb2_grpc.WorkerServiceAsyncStub", news: _News, ends_s: float) -> None:
    while True:
        timeout_s = max(ends_s - asyncio.get_running_loop().time(), 0.001)
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
