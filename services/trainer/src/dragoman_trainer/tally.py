# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Sums and counts over rows and steps: no per-batch average enters a figure."""

from dataclasses import dataclass

import torch


@dataclass(slots=True)
class Tally:
    """What has been counted so far, all of it in a checkpoint."""

    loss_sum: float = 0.0
    num_correct: int = 0
    num_rows: int = 0
    norm_sum: float = 0.0
    num_clipped: int = 0
    num_steps: int = 0

    def add(self, loss_sum: float, logits_BC: torch.Tensor, labels_B: torch.Tensor) -> None:
        """Count a batch."""
        self.loss_sum += loss_sum
        self.num_correct += int((logits_BC.argmax(dim=1) == labels_B).sum())
        self.num_rows += len(labels_B)

    def clip(self, norm: float, limit: float) -> None:
        """Count a step's gradient."""
        self.norm_sum += norm
        self.num_clipped += norm > limit
        self.num_steps += 1

    @property
    def loss(self) -> float:
        return self.loss_sum / self.num_rows

    @property
    def accuracy(self) -> float:
        return self.num_correct / self.num_rows
