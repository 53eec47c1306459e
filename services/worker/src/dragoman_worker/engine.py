# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One loaded version: its queue, and what becomes of its calls when its model process answers, fails, hangs or dies.

Owns admission and dispatch. Not the start and restart of the process (supervisor.py), not what is loaded (loader.py)
and not which versions exist (placement.py). Everything runs on one event loop; nothing here blocks it.

    score -> admit -> batcher -> at most two batches in the process (one runs, one is at hand) -> answers, row by row

When the process dies, the batch that ran fails with UnavailableError and its inputs become suspects. A batch that it
had not begun goes back to the queue, to what waits there, and runs in the restarted process if the callers' deadlines
allow. A call never outlives its deadline: the caller is answered by a timer of the front, whatever
the process does; a batch that runs longer than max_batch_ms has hung, and its process is ended.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from dragoman_common.errors import DeadlineExceededError, DragomanError, OverloadedError, UnavailableError
from dragoman_worker.admission import Admission, AdmissionLimits
from dragoman_worker.batcher import Batcher, BatchLimits
from dragoman_worker.engine_counters import EngineCounters
from dragoman_worker.ports import ModelFailedError, ModelFiles, ModelLauncher, ModelRunner, RunnerEndedError
from dragoman_worker.request import Batch, Row, ScoreRequest, Scores, TokenIds
from dragoman_worker.supervisor import Supervisor
from dragoman_worker.suspects import Suspects

logger = logging.getLogger(__name__)

MAX_BATCHES_IN_PROCESS = 2
RATE_SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLimits:
    """What one loaded version may take.

    Attributes:
        batch: See BatchLimits.
        admission: See AdmissionLimits.
        max_batch_ms: A batch that runs longer has hung: its process is ended and started again.
        max_restart_delay_ms: The longest pause between two starts of a process that does not come up.
    """

    batch: BatchLimits
    admission: AdmissionLimits
    max_batch_ms: float
    max_restart_delay_ms: float


class Engine:
    """Scores for one model version. Start it before use, drain it, close it."""

    def __init__(
        self,
        name: str,
        *,
        launcher: ModelLauncher,
        files: Callable[[], Awaitable[ModelFiles]],
        limits: EngineLimits,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            name: For log lines, such as ``acme/r8/3``.
            launcher: Starts the model's process.
            files: Returns the verified files; asked again before every start.
            limits: See EngineLimits.
            on_change: Called when the process has started, and when failure changes.
        """
        self._name = name
        self._limits = limits
        self._batcher = Batcher(limits.batch)
        self._admission = Admission(limits.admission)
        self._suspects = Suspects()
        self._supervisor = Supervisor(
            name,
            launcher=launcher,
            files=files,
            max_restart_delay_ms=limits.max_restart_delay_ms,
            on_end=self._process_ended,
            on_start=self._pump,
            on_change=on_change,
        )
        self._in_process: deque[Batch] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_pump_scheduled = False
        self._is_draining = False
        self._num_calls = 0
        self._no_calls = asyncio.Event()
        self._no_calls.set()
        self._tokens_per_s = 0.0
        self._answered_s = 0.0
        self.counters = EngineCounters()

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows; 0 before start."""
        return self._supervisor.num_labels

    @property
    def num_starts(self) -> int:
        """How often the process has been started, in vain or not."""
        return self._supervisor.num_starts

    @property
    def num_waiting(self) -> int:
        """Rows that wait for a batch."""
        return self._batcher.num_rows

    @property
    def num_running(self) -> int:
        """Rows that are in the process."""
        return sum(len(batch.rows) for batch in self._in_process)

    @property
    def in_flight_tokens(self) -> int:
        """Tokens of all calls that are not answered."""
        return self._admission.num_tokens

    @property
    def num_calls(self) -> int:
        """Calls that are not answered."""
        return self._admission.num_requests

    @property
    def num_running_calls(self) -> int:
        """Those of which a row is in the process."""
        return min(self.num_calls, sum(batch.num_calls for batch in self._in_process))

    @property
    def call_share(self) -> float:
        """Calls that are not answered, over the most that may be."""
        return self._admission.num_requests / self._limits.admission.max_waiting_requests

    @property
    def token_share(self) -> float:
        """Tokens of those calls, over the most that may be."""
        return self._admission.num_tokens / self._limits.admission.max_waiting_tokens

    def queue_time_s(self, now_s: float) -> float:
        """How long a call that came now would wait: by the recent rate, and at least as long as the oldest row has."""
        by_rate_s = self._admission.num_tokens / self._tokens_per_s if self._tokens_per_s else 0.0
        return max(by_rate_s, self._batcher.longest_wait_s(now_s))

    @property
    def failure(self) -> DragomanError | None:
        """Why the process does not come up again; None while it runs, or restarts for the first few times."""
        return self._supervisor.failure

    async def start(self) -> None:
        """Load and warm up for the first time; no call is possible before.

        Raises:
            DataLossError: the files are not what was signed.
            DragomanError: the model cannot be loaded.
            ModelFailedError: loading raised something else; the process's log has it.
            RunnerEndedError: its process ended while it loaded.
        """
        await self._supervisor.start()

    async def score(self, tenant: str, rows: Sequence[TokenIds], deadline_s: float) -> Scores:
        """Return scores_NC for N rows of token ids.

        Args:
            tenant: Whose call it is, for fairness.
            rows: N >= 1 rows of 1..T ids; none longer than max_batch_tokens.
            deadline_s: On the running loop's clock.

        Raises:
            QuarantinedInputError: a row has ended the process before.
            InvalidArgumentError: the model refuses a row.
            OverloadedError: the queue is full.
            DeadlineExceededError: not answered in time; what had not begun does not begin.
            UnavailableError: the process died while it ran a row of this call, or the version is leaving.
            ModelFailedError: the model failed on a row.
        """
        if self._is_draining:
            raise UnavailableError("this worker is giving the model version up; ask another worker, or the alias again")
        if self.failure is not None:
            raise UnavailableError(f"the model's process does not start: {self.failure.message}")
        self._suspects.check(rows)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Scores] = loop.create_future()
        request = ScoreRequest(tenant=tenant, rows=rows, deadline_s=deadline_s, answer=answer)
        num_tokens = request.num_tokens
        try:
            self._admission.admit(tenant, num_tokens, tokens_per_s=self._tokens_per_s)
        except OverloadedError:
            self.counters.num_refused += 1
            raise
        self._num_calls += 1
        self._no_calls.clear()
        try:
            self._batcher.add(request, loop.time(), is_alone=self._must_run_alone)
            self._schedule_pump()
            async with asyncio.timeout_at(deadline_s):
                return await answer
        except TimeoutError:
            raise DeadlineExceededError(
                "the deadline passed before the model answered; give the call more time"
            ) from None
        finally:
            self._batcher.cancel(request)
            self._admission.release(tenant, num_tokens)
            self._num_calls -= 1
            if not self._num_calls:
                self._no_calls.set()

    async def drain(self) -> None:
        """Take nothing new and wait until every admitted call is answered; their deadlines bound the wait."""
        self._is_draining = True
        await self._no_calls.wait()

    async def close(self) -> None:
        """End the process. Calls that are still there fail with UnavailableError."""
        self._is_draining = True
        await self._supervisor.close()
        for request in {row.request for row in self._batcher.waiting()}:
            request.fail(UnavailableError("the worker is stopping; send the call again"))
        for batch in self._in_process:
            self._fail_all(batch, UnavailableError("the worker is stopping; send the call again"))
        self._in_process.clear()
        self._arm_timers()

    def _must_run_alone(self, row: Row) -> bool:
        return row.is_alone or self._suspects.is_suspect(row.ids)

    # The queue's side.

    def _schedule_pump(self) -> None:
        """Once per turn of the loop: calls that arrive together start together."""
        if not self._is_pump_scheduled:
            self._is_pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_scheduled = False
        now_s = asyncio.get_running_loop().time()
        while (runner := self._supervisor.runner) is not None and len(self._in_process) < MAX_BATCHES_IN_PROCESS:
            batch, expired = self._batcher.next_batch(now_s, is_idle=not self._in_process)
            self.counters.num_expired += len(expired)
            for request in expired:
                request.fail(DeadlineExceededError("too little time was left to run the model; it was not run"))
            if batch is None:
                break
            self._in_process.append(batch)
            self._count(batch)
            task = asyncio.create_task(self._run(batch, runner))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ran, batch))
        self._arm_timers()

    def _count(self, batch: Batch) -> None:
        self.counters.num_batches += 1
        self.counters.num_rows += len(batch.rows)
        self.counters.num_tokens += sum(row.num_tokens for row in batch.rows)
        self.counters.num_padded_tokens += batch.num_padded_tokens

    def _arm_timers(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._batcher.next_due_s()
        is_open = self._supervisor.runner is not None and len(self._in_process) < MAX_BATCHES_IN_PROCESS
        if due_s is not None and is_open:
            self._timer = loop.call_at(due_s, self._pump)
        if self._watchdog is None and self._in_process:
            self._watchdog = loop.call_later(self._limits.max_batch_ms / 1000, self._hung, self._in_process[0])

    def _hung(self, batch: Batch) -> None:
        self._watchdog = None
        runner = self._supervisor.runner
        if runner is not None and self._in_process and self._in_process[0] is batch:
            logger.error("model process hangs, ending it", extra={"version": self._name})
            task = asyncio.create_task(runner.close("hung"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # The process's side.

    async def _run(self, batch: Batch, runner: ModelRunner) -> None:
        started_s = asyncio.get_running_loop().time()
        rows = [row.ids for row in batch.rows]
        try:
            scores_BC = await runner.score(rows)
        except RunnerEndedError as ended:
            self._supervisor.ended(runner, ended)
        except (DragomanError, ModelFailedError) as error:
            self._left_process(batch)
            self._batch_failed(batch, error)
        else:
            self._left_process(batch)
            self._supervisor.worked()
            # It may have waited in the process for the batch before it, which has had its own time counted.
            now_s = asyncio.get_running_loop().time()
            self._measure(sum(ids.size for ids in rows), now_s - max(started_s, self._answered_s))
            self._answered_s = now_s
            self._suspects.clear(rows)
            for row, scores_C in zip(batch.rows, scores_BC, strict=True):
                row.request.answer_row(row.index, scores_C)
        self._pump()

    def _ran(self, batch: Batch, task: asyncio.Task[None]) -> None:
        """A defect here must not keep the batch's place, and its callers, for ever."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("batch failed by a defect", extra={"version": self._name}, exc_info=error)
            self._left_process(batch)
            self._fail_all(batch, ModelFailedError("the batch failed by a defect of the worker; its log has it"))
            self._pump()

    def _left_process(self, batch: Batch) -> None:
        with suppress(ValueError):
            self._in_process.remove(batch)
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _batch_failed(self, batch: Batch, error: Exception) -> None:
        """One bad row fails alone: each row of a failed batch is run by itself once."""
        if len(batch.rows) == 1:
            self._fail_all(batch, error)
            return
        logger.warning("batch failed, running its rows one by one", extra={"version": self._name, "error": repr(error)})
        for row in batch.rows:
            row.is_alone = True
        self._batcher.restore(batch.rows)

    def _fail_all(self, batch: Batch, error: Exception) -> None:
        for row in batch.rows:
            row.request.fail(error)
            self._batcher.cancel(row.request)

    def _process_ended(self, ended: RunnerEndedError) -> None:
        """Settle what was in the process."""
        batches = list(self._in_process)
        for batch in batches:
            self._left_process(batch)
        self.counters.num_process_ends += 1
        begun, waiting = batches[: ended.num_begun], [row for batch in batches[ended.num_begun :] for row in batch.rows]
        for batch in begun:
            quarantined = self._suspects.blame((row.ids for row in batch.rows), is_own_doing=ended.is_own_doing)
            self.counters.num_quarantined += len(quarantined)
            for digest in quarantined:
                logger.error("input quarantined", extra={"version": self._name, "input_sha256": digest})
            self._fail_all(
                batch,
                UnavailableError(f"the model's process ended while it ran this call ({ended.reason}); send it again"),
            )
        waiting += self._batcher.take_all()
        for row in waiting:
            row.is_alone = self._must_run_alone(row)
        self._batcher.restore(waiting)

    def _measure(self, num_tokens: int, seconds: float) -> None:
        rate = num_tokens / max(seconds, 1e-6)
        self._tokens_per_s += RATE_SMOOTHING * (rate - self._tokens_per_s) if self._tokens_per_s else rate
