# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a training loop tells about itself: each step, and the figures of each finished epoch. No torch here."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochMetrics:
    """One epoch. Training figures are those of the steps themselves, with dropout, before each step's update."""

    epoch: int
    train_loss: float
    train_accuracy: float
    dev_loss: float
    dev_accuracy: float
    mean_gradient_norm: float
    share_clipped: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """How far the loop is, for whoever watches; epoch is set on the last step of each epoch."""

    step: int
    num_steps: int
    epoch_number: int
    loss: float
    epoch: EpochMetrics | None
