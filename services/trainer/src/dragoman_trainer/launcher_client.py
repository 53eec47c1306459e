# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher as a ProgressReporter. Adapter: the one place that speaks dragoman.launcher.v1."""

import logging
import time
from collections.abc import Callable

import grpc

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1 import launcher_pb2_grpc
from dragoman_common.errors import DragomanError
from dragoman_trainer.call import Credential, call_once, call_with_retries
from dragoman_trainer.ports import JobCancelledError, Progress, Published

logger = logging.getLogger(__name__)

REPORT_INTERVAL_S = 0.5
MAX_REPORT_INTERVAL_S = 30.0
REPORT_TIMEOUT_S = 2.0
PUBLISHED_TIMEOUT_S = 10.0


class LauncherReporter:
    """Reports at most twice a second, but every stage and every finished epoch."""

    def __init__(
        self,
        channel: grpc.Channel,
        token: Credential,
        job_id: str,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Report for one job over a channel that the caller closes."""
        self._stub = launcher_pb2_grpc.LauncherServiceStub(channel)
        self._token = token
        self._job_id = job_id
        self._monotonic_s = monotonic_s
        self._reported_s = float("-inf")
        self._interval_s = REPORT_INTERVAL_S
        self._milestone: tuple[str, bool] = ("", False)

    def report(self, progress: Progress) -> None:
        """See ProgressReporter."""
        is_epoch_end = (
            progress.num_epochs > 0 and progress.step * progress.num_epochs == progress.epoch * progress.num_steps
        )
        milestone = (progress.stage, is_epoch_end)
        now_s = self._monotonic_s()
        if milestone == self._milestone and not is_epoch_end and now_s - self._reported_s < self._interval_s:
            return
        self._milestone, self._reported_s = milestone, now_s
        request = pb.ReportProgressRequest(id=self._job_id, progress=progress_to_pb(progress))
        try:
            response = call_once(
                lambda: self._stub.ReportProgress(request, timeout=REPORT_TIMEOUT_S, metadata=self._token.metadata())
            )
        except DragomanError as error:
            # The next report carries everything that this one did. A launcher that hangs costs a timeout per report, so
            # steps are reported ever more rarely until one arrives: training does not depend on being watched.
            self._interval_s = min(self._interval_s * 4, MAX_REPORT_INTERVAL_S)
            logger.warning("progress was not delivered", extra={"reason": error.message})
            return
        self._interval_s = REPORT_INTERVAL_S
        if response.is_cancelled:
            raise JobCancelledError("the job was cancelled")

    def published(self, published: Published) -> None:
        """See ProgressReporter."""
        request = pb.ReportProgressRequest(
            id=self._job_id,
            published_version=published.version,
            published_root_sha256=published.root_sha256,
        )
        call_with_retries(
            "reporting the published version",
            lambda: self._stub.ReportProgress(request, timeout=PUBLISHED_TIMEOUT_S, metadata=self._token.metadata()),
        )


def progress_to_pb(progress: Progress) -> pb.Progress:
    """Convert; an unknown remaining time stays unset."""
    message = pb.Progress(
        stage=progress.stage,
        epoch=progress.epoch,
        num_epochs=progress.num_epochs,
        step=progress.step,
        num_steps=progress.num_steps,
        metrics=progress.metrics,
    )
    if progress.eta_s is not None:
        message.eta.FromNanoseconds(int(progress.eta_s * 1e9))
    return message
