# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Reporters of this process: one for a run without a platform, and one that hears when the process is to stop."""

from collections.abc import Callable

from dragoman_trainer.ports import Progress, ProgressReporter, Published


class LocalReporter:
    """Accepts every report and never cancels."""

    def report(self, progress: Progress) -> None:
        """See ProgressReporter."""

    def published(self, published: Published) -> None:
        """See ProgressReporter."""


class StoppableReporter:
    """Passes reports on, and ends the run at the next one once the process was asked to stop."""

    def __init__(self, reporter: ProgressReporter, check: Callable[[], None]) -> None:
        """Call `check` before each report; it raises JobCancelledError."""
        self._reporter = reporter
        self._check = check

    def report(self, progress: Progress) -> None:
        """See ProgressReporter."""
        self._check()
        self._reporter.report(progress)

    def published(self, published: Published) -> None:
        """See ProgressReporter."""
        self._reporter.published(published)
