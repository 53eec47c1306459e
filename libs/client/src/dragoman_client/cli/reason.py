# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The reason of a change that others will read in a history."""

from dragoman_common.errors import InvalidArgumentError


def check_reason(reason: str) -> None:
    """See that a reason says something.

    Raises:
        InvalidArgumentError: it is blank.
    """
    if not reason.strip():
        raise InvalidArgumentError("--reason is blank: say in a few words why, it is kept for whoever asks later")
