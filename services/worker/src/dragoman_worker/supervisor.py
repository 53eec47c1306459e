# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One model process that is kept running: started, started again when it ends, and reported when it does not come up.

Owns the runner, the pauses between starts, and the failure. Not what was in the process when it ended: that is the
engine's, which is told of every end and every start.

    start -> files -> launch -> runner ... its end -> on_end -> pause -> files -> launch -> on_start
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dragoman_common.errors import DataLossError, DragomanError, UnavailableError
from dragoman_worker.backoff import Backoff
from dragoman_worker.ports import ModelFailedError, ModelFiles, ModelLauncher, ModelRunner, RunnerEndedError

logger = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3
"""After so many failed starts in a row new calls are refused, so that gateways go elsewhere."""


class Supervisor:
    """Keeps one model's process. Start it before use; close it at the end."""

    def __init__(
        self,
        name: str,
        *,
        launcher: ModelLauncher,
        files: Callable[[], Awaitable[ModelFiles]],
        max_restart_delay_ms: float,
        on_end: Callable[[RunnerEndedError], None],
        on_start: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        """Prepare; nothing is started.

        Args:
            name: For log lines, such as ``acme/r8/3``.
            launcher: Starts the model's process.
            files: Returns the verified files; asked again before every start.
            max_restart_delay_ms: Longest pause between two starts.
            on_end: Called once for each end of a process, with the reason; the runner is gone then.
            on_start: Called when a process was started again.
            on_change: Called when the process has started, and when failure changes.
        """
        self._name = name
        self._launcher = launcher
        self._files = files
        self._on_end = on_end
        self._on_start = on_start
        self._on_change = on_change
        self._backoff = Backoff(first_s=0.1, max_s=max_restart_delay_ms / 1000)
        self._num_failed_starts = 0
        self._task: asyncio.Task[None] | None = None
        self.runner: ModelRunner | None = None
        self.failure: DragomanError | None = None
        self.num_labels = 0
        self.num_starts = 0

    async def start(self) -> None:
        """Start the process for the first time. See Engine.start for what is raised."""
        runner = await self._launch()
        self._task = asyncio.create_task(self._supervise(runner), name=f"supervise {self._name}")
        self._task.add_done_callback(self._task_ended)

    async def close(self) -> None:
        """End the process, and start no other."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            # One that died of a defect has been logged.
            await asyncio.gather(task, return_exceptions=True)
        runner, self.runner = self.runner, None
        if runner is not None:
            await runner.close()

    def ended(self, runner: ModelRunner, ended: RunnerEndedError) -> None:
        """A runner is gone; whoever notices first says so, what others say later changes nothing."""
        if runner is self.runner:
            self.runner = None
            logger.error("model process ended", extra={"version": self._name, "reason": ended.reason})
            self._on_end(ended)

    def worked(self) -> None:
        """The process answered: the next restart is at once."""
        self._backoff.reset()

    async def _supervise(self, runner: ModelRunner) -> None:
        while True:
            self.ended(runner, await runner.wait_ended())
            runner = await self._relaunch()
            self._on_start()

    async def _relaunch(self) -> ModelRunner:
        while True:
            await asyncio.sleep(self._backoff.next_s())
            try:
                runner = await self._launch()
            except (DragomanError, ModelFailedError, RunnerEndedError) as error:
                if not isinstance(error, RunnerEndedError) or error.is_own_doing:
                    # One that somebody kills while it loads says nothing about the next.
                    self._num_failed_starts += 1
                logger.error("model process did not start", extra={"version": self._name, "error": str(error)})  # noqa: TRY400 - expected, the text says all
                if isinstance(error, DataLossError) or self._num_failed_starts >= MAX_FAILED_STARTS:
                    self._fail(error if isinstance(error, DragomanError) else UnavailableError(str(error)))
            else:
                return runner

    async def _launch(self) -> ModelRunner:
        files = await self._files()
        self.num_starts += 1
        runner = await self._launcher.launch(files)
        self.runner = runner
        self.num_labels = runner.num_labels
        self.failure = None
        self._num_failed_starts = 0
        self._on_change()
        return runner

    def _fail(self, error: DragomanError) -> None:
        self.failure = error
        self._on_change()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A defect must not leave a version that says READY and whose process nobody starts."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("supervision ended by a defect", extra={"version": self._name}, exc_info=error)
            what = type(error).__name__
            self._fail(UnavailableError(f"the model's process is not supervised any more ({what}); restart the worker"))
