# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's report, once it has read everything."""

import time
from typing import Any

from demo.command import Dragoman

_DEADLINE_S = 60.0
_PAUSE_S = 0.3


def report_when_caught_up(dragoman: Dragoman, model: str, version: int, *, num_labelled: int) -> dict[str, Any]:
    """The report on one version, as soon as the monitor has read everything; the last one when that takes too long.

    Returns:
        The version's measures, with freshness beside them.
    """
    ends_at_s = time.monotonic() + _DEADLINE_S
    while True:
        document = dragoman.json("report", model, "--version", str(version))
        freshness, versions = document["freshness"], document["versions"]
        is_current = freshness["predictions_lag"] == 0 and freshness["feedback_lag"] == 0
        if versions and is_current and versions[0]["num_labelled"] >= num_labelled:
            break
        if time.monotonic() > ends_at_s:
            break
        time.sleep(_PAUSE_S)
    measures: dict[str, Any] = versions[0] if versions else {}
    return {**measures, "freshness": freshness}
