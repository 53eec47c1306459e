# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The front's end of a model process: send it what to load, then batches, and notice its end.

Owns the frames to and from one child, and its end. Not its start (process_launcher.py), not what to do when it ends
(engine.py).

    LoadRequest -> LoadedReply -> score: request frame -> BegunReply -> ScoreReply -> scores_BC
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from dragoman.inference.v1 import model_process_pb2 as pb
from dragoman_worker import frames, process_messages
from dragoman_worker.exit_status import ExitStatus
from dragoman_worker.forked_process import ForkedProcess
from dragoman_worker.ports import ModelFailedError, ModelFiles, RunnerEndedError
from dragoman_worker.request import Scores, TokenIds

logger = logging.getLogger(__name__)

LOAD_ID = 0


class ProcessRunner:
    """A model process. After load it implements ports.ModelRunner."""

    def __init__(
        self,
        process: asyncio.subprocess.Process | ForkedProcess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        # In the order in which they were sent: the process answers in that order, and fails in that order.
        self._pending: dict[int, asyncio.Future[tuple[pb.ReplyHeader, bytes]]] = {}
        self._begun: set[int] = set()
        self._next_id = LOAD_ID
        self._ended: asyncio.Future[RunnerEndedError] = asyncio.get_running_loop().create_future()
        self._close_reason = ""
        self.num_labels = 0
        self._reading = asyncio.create_task(self._read(), name=f"read from model process {process.pid}")

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def load(self, files: ModelFiles, num_threads: int) -> None:
        """Send the load request and wait until the model is warm. See ports.ModelLauncher for what is raised."""
        reply, _ = await self._exchange(process_messages.load_request(files, num_threads), b"", LOAD_ID)
        if reply.WhichOneof("reply") != "loaded":
            raise ModelFailedError("the model process answered a load request with something else")
        self.num_labels = reply.loaded.num_labels

    async def score(self, rows: Sequence[TokenIds]) -> Scores:
        """See ports.ModelRunner."""
        self._next_id += 1
        request_id = self._next_id
        header, payload = process_messages.score_request(request_id, rows)
        reply, scores = await self._exchange(header, payload, request_id)
        shape = (reply.score.num_rows, reply.score.num_labels)
        if reply.WhichOneof("reply") != "score" or shape != (len(rows), self.num_labels):
            raise ModelFailedError(
                f"the model process answered {shape} to {len(rows)} rows of {self.num_labels} labels"
            )
        return process_messages.scores_from_reply(reply.score, scores)

    async def wait_ended(self) -> RunnerEndedError:
        """See ports.ModelRunner."""
        return await asyncio.shield(self._ended)

    async def close(self, reason: str = "closed") -> None:
        """See ports.ModelRunner. The process has nothing to save, so it is killed: that also ends one that hangs."""
        self._close_reason = self._close_reason or reason
        if self._process.returncode is None:
            self._process.kill()
        await self.wait_ended()

    async def _exchange(self, header: bytes, payload: bytes, request_id: int) -> tuple[pb.ReplyHeader, bytes]:
        if self._ended.done():
            raise self._ended.result()
        try:
            prefix = frames.head(header, len(payload))
        except frames.FrameError as error:
            # Nothing was sent, so the connection is good: it is this request that is too large.
            raise ModelFailedError(f"the request to the model's process is too large: {error}") from error
        future: asyncio.Future[tuple[pb.ReplyHeader, bytes]] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = future
        # One write: two tasks that send at once must not mix their frames. No drain: at most two batches are under way.
        self._writer.write(prefix + payload)
        reply, scores = await future
        if reply.WhichOneof("reply") == "error":
            raise process_messages.error_from_pb(reply.error)
        return reply, scores

    async def _read(self) -> None:
        broken = ""
        try:
            while frame := await frames.receive_async(
                self._reader, process_messages.parse_reply, process_messages.reply_payload_bytes
            ):
                if frame[0].WhichOneof("reply") == "begun":
                    self._begun.add(frame[0].id)
                    continue
                self._begun.discard(frame[0].id)
                future = self._pending.pop(frame[0].id, None)
                if future is not None and not future.done():
                    future.set_result(frame)
        except frames.FrameError as error:
            broken = str(error)
        except OSError as error:
            # A process that is killed with requests unread resets the connection: an end like any other.
            logger.debug("model process's socket failed", extra={"error": str(error)})
        finally:
            await self._finish(broken)

    async def _finish(self, broken: str) -> None:
        """Settle everything: whatever closed the socket, the process is of no further use."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                # It closed the socket by ending, so its own exit status is about to be known.
                await self._process.wait()
        except TimeoutError:
            self._close_reason = self._close_reason or broken or "closed its socket and did not end"
            with suppress(ProcessLookupError):
                self._process.kill()
        ended = self._describe(await self._process.wait())
        self._ended.set_result(ended)
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(ended)

    def _describe(self, status: int) -> RunnerEndedError:
        num_begun = len(self._begun)
        if self._close_reason:
            return RunnerEndedError(self._close_reason, is_own_doing=False, num_begun=num_begun)
        how = ExitStatus(status)
        return RunnerEndedError(how.reason, is_own_doing=how.is_own_doing, num_begun=num_begun)
