# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The models: the baseline, the one for production, and one whose labels were shuffled so that it learnt nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo.command import Dragoman

MODEL = "r8"
_JOB_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that a job has published."""

    version: int
    root_sha256: str


def train(dragoman: Dragoman, recipe: str, overrides: Mapping[str, str] | None = None) -> Trained:
    """Train a shipped recipe through the launcher, with its progress on the terminal."""
    request_id = f"demo-{recipe}-{len(overrides or {})}"
    settings = [part for key, value in (overrides or {}).items() for part in ("--set", f"{key}={value}")]
    arguments = ("train", recipe, "--model", MODEL, "--request-id", request_id, *settings)
    dragoman.show(*arguments, timeout_s=_JOB_TIMEOUT_S)
    # The same request id returns the same job: asked again, it is the ended one.
    job: dict[str, Any] = dragoman.json(*arguments, "--detach")["job"]
    return Trained(job["published_version"], job["published_root_sha256"])
