# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the SDK answers with. Plain values: no generated code reaches the caller."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """One row's answer. `scores` is the softmax over `ClassifyResult.labels`, in their order."""

    label: str
    scores: tuple[float, ...]
    truncated: bool
    """The text was longer than the model's token limit; its end was not read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyResult:
    """The answer to one call: one row for each text, in the same order."""

    request_id: str
    """The platform's own id of the call; feedback names it."""
    client_id: str
    model: str
    version: int
    root_sha256: str
    labels: tuple[str, ...]
    rows: tuple[Classification, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackItem:
    """The true label of one row of an earlier call."""

    request_id: str
    row: int
    true_label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that the caller may ask, under one of its aliases."""

    model: str
    alias: str
    version: int
    root_sha256: str
    labels: tuple[str, ...]
    is_ready: bool
    """At least one worker is ready to answer for it."""
