# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tumbling windows by the time at which a call was accepted: a late event belongs where it happened, not to now."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class WindowKey:
    """One window of one arm of one version of one tenant's model."""

    tenant: str
    model: str
    version: int
    arm: str
    start_us: int
    """Its first microsecond since 1970, UTC; the window ends before start + length."""


def window_start_us(time_us: int, length_s: int) -> int:
    """The start of the window that holds a time; windows are aligned to 1970-01-01T00:00Z."""
    length_us = length_s * 1_000_000
    return time_us // length_us * length_us
