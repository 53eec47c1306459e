# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gateway, as its users see it: which version answers, and where true labels go."""

import time
from collections.abc import Sequence
from typing import Any

from demo.rows import TestRow
from dragoman_client import Client, FeedbackItem

_DEADLINE_S = 60.0
_PAUSE_S = 0.2
_ITEMS_PER_CALL = 200


def wait_until_served(client: Client, model: str, version: int) -> None:
    """Return when the model's prod alias answers with the version.

    Raises:
        TimeoutError: it does not within a minute.
    """
    ends_at_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < ends_at_s:
        if any(
            (served.model, served.alias, served.version, served.is_ready) == (model, "prod", version, True)
            for served in client.models()
        ):
            return
        time.sleep(_PAUSE_S)
    raise TimeoutError(f"{model}@prod does not answer with version {version} after {_DEADLINE_S:g} s")


def send_labels(client: Client, answers: Sequence[dict[str, Any]], rows: Sequence[TestRow]) -> int:
    """Send every answered row's true label; returns how many the gateway accepted."""
    items = [
        FeedbackItem(request_id=answer["request_id"], row=0, true_label=rows[answer["index"]].label)
        for answer in answers
    ]
    starts = range(0, len(items), _ITEMS_PER_CALL)
    return sum(client.feedback(items[start : start + _ITEMS_PER_CALL]) for start in starts)
