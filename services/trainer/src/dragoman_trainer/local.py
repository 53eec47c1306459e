# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ProgressReporter of a run without a platform: nobody is told, the log has it anyway."""

from dragoman_trainer.ports import Progress, Published


class LocalReporter:
    """Accepts every report and never cancels."""

    def report(self, progress: Progress) -> None:
        """See ProgressReporter."""

    def published(self, published: Published) -> None:
        """See ProgressReporter."""
