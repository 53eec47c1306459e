# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is written down about a call. No field holds text that a user sent, but for the true label of a feedback."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionRecord:
    """One row of one call, answered or refused after a version was chosen. (tenant, request_id, row) names it."""

    tenant: str
    subject: str
    request_id: str
    row: int
    model: str
    version: int
    root_sha256: str
    arm: str
    code: str
    label: str = ""
    score: float = 0.0
    num_tokens: int = 0
    num_unknown_tokens: int = 0
    text_bytes: int = 0
    truncated: bool = False
    accept_time: datetime
    latency_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackRecord:
    """A true label for a row that was answered before. It joins only within its tenant."""

    tenant: str
    subject: str
    request_id: str
    row: int
    true_label: str
    receive_time: datetime
