# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop of the rnn architecture, in plain torch.

Owns the gradient steps, the choice of the best epoch on dev, and the figures of each epoch. Loss and accuracy are
sums over rows divided by counts of rows; no per-batch average enters them. It never sees the test part.

    encoded train, dev -> [bucketed batches -> logits -> cross-entropy -> clip -> step] x epochs -> best epoch's weights
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import TokenIds
from dragoman_models.rnn import RnnNetwork, pad
from dragoman_trainer.batches import num_batches
from dragoman_trainer.checkpointing import Checkpointer, NoCheckpointer
from dragoman_trainer.history import EpochMetrics, Step
from dragoman_trainer.recipe import TrainingRecipe
from dragoman_trainer.tally import Tally
from dragoman_trainer.training_state import TrainingState

EVALUATION_BATCH_SIZE = 64
WARM_UP_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """N token rows with their label indices."""

    rows: Sequence[TokenIds]
    labels: NDArray[np.int64]


def fit(
    network: RnnNetwork,
    train: EncodedSplit,
    dev: EncodedSplit,
    recipe: TrainingRecipe,
    *,
    seed: int,
    on_step: Callable[[Step], None] = lambda _: None,
    checkpointer: Checkpointer | None = None,
) -> list[EpochMetrics]:
    """Train the network in place and leave it with the weights of the epoch that was best on dev.

    Best means highest dev accuracy, then lowest dev loss. It trains where the network is. On a CPU the same seed, data,
    thread count and machine give the same weights, also when the run was killed and went on from a checkpoint; on CUDA,
    within rounding (see rnn_fit). An exception from on_step stops the training.

    Raises:
        InvalidArgumentError: the loss became NaN or infinite; the message says at which step.
        JobCancelledError: the process was asked to stop, and did so after a step, which is saved.
        UnavailableError: the checkpoints cannot be looked for.
    """
    torch.manual_seed(seed)
    device = network.device
    steps_per_epoch = num_batches(len(train.rows), recipe.batch_size)
    num_steps = steps_per_epoch * recipe.epochs
    optimizer, scheduler = _optimizer(network, recipe, num_steps)
    loss_function = nn.CrossEntropyLoss(
        weight=_class_weights(train.labels, recipe), label_smoothing=recipe.label_smoothing, reduction="sum"
    ).to(device)
    lengths = np.array([row.size for row in train.rows])
    labels = torch.from_numpy(train.labels)
    state = TrainingState(
        network=network, optimizer=optimizer, scheduler=scheduler, generator=np.random.default_rng(seed)
    )
    keeper = checkpointer or NoCheckpointer()
    keeper.restore(state)
    with keeper.stops_held_off():
        while state.epoch <= recipe.epochs:
            started = time.perf_counter()
            network.train()
            for rows in state.batches(lengths, recipe.batch_size):
                ids_BT, lengths_B = pad([train.rows[row] for row in rows])
                labels_B = labels[rows].to(device)
                _seed_dropout(device, seed, state.step)
                logits_BC = network(ids_BT.to(device), lengths_B.to(device))
                loss_sum = loss_function(logits_BC, labels_B)
                norm = _step(state, loss_sum / len(rows), recipe.clip_norm)
                state.tally.add(float(loss_sum.detach()), logits_BC.detach(), labels_B)
                state.tally.clip(norm, recipe.clip_norm)
                if not np.isfinite(state.tally.loss_sum):
                    raise InvalidArgumentError(
                        f"training diverged at step {state.step}: the loss is not finite; lower learning_rate"
                    )
                # Before anybody is told of the step: a call may take long, and the process may have seconds.
                keeper.end_if_asked(state)
                if state.batch < steps_per_epoch:
                    on_step(Step(state.step, num_steps, state.epoch, state.tally.loss, None))
                    keeper.save_if_due(state)
            figures = measure(network, dev, on_batch=lambda: keeper.end_if_asked(state))
            metrics = _epoch_metrics(state, figures, time.perf_counter() - started)
            loss = state.tally.loss
            state.history.append(metrics)
            _keep_if_best(state, metrics)
            state.end_epoch()
            keeper.end_if_asked(state)
            on_step(Step(state.step, num_steps, metrics.epoch, loss, metrics))
            keeper.save_if_due(state)
        keeper.end_if_asked(state)
    network.load_state_dict(state.best_weights)
    network.eval()
    return state.history


def _seed_dropout(device: torch.device, seed: int, step: int) -> None:
    """Make what CUDA draws in a step a matter of the step: a checkpoint has the state of the CPU's generator alone."""
    if device.type == "cuda":
        torch.cuda.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))


def _step(state: TrainingState, loss: torch.Tensor, clip_norm: float) -> float:
    """Make the step and count it; return the gradient's length before it was clipped."""
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = float(nn.utils.clip_grad_norm_(state.network.parameters(), clip_norm))
    state.optimizer.step()
    if state.scheduler is not None:
        state.scheduler.step()
    state.step += 1
    state.batch += 1
    return norm


def _keep_if_best(state: TrainingState, metrics: EpochMetrics) -> None:
    score = (metrics.dev_accuracy, -metrics.dev_loss)
    if state.best is None or score > state.best:
        state.best = score
        state.best_weights = {name: tensor.detach().clone() for name, tensor in state.network.state_dict().items()}


def _epoch_metrics(state: TrainingState, dev: tuple[float, float], duration_s: float) -> EpochMetrics:
    tally = state.tally
    return EpochMetrics(
        epoch=state.epoch,
        train_loss=tally.loss,
        train_accuracy=tally.accuracy,
        dev_loss=dev[0],
        dev_accuracy=dev[1],
        mean_gradient_norm=tally.norm_sum / tally.num_steps,
        share_clipped=tally.num_clipped / tally.num_steps,
        duration_s=duration_s,
    )


def measure(
    network: RnnNetwork,
    split: EncodedSplit,
    *,
    batch_size: int = EVALUATION_BATCH_SIZE,
    on_batch: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Return (mean cross-entropy, accuracy) over all rows; equal for every batch_size up to float32 rounding.

    An exception from on_batch, called after each, stops the measuring.
    """
    network.eval()
    tally = Tally()
    order = np.argsort([row.size for row in split.rows], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            logits_BC = network(*(tensor.to(network.device) for tensor in pad([split.rows[row] for row in rows])))
            labels_B = torch.from_numpy(split.labels[rows]).to(network.device)
            tally.add(float(nn.functional.cross_entropy(logits_BC, labels_B, reduction="sum")), logits_BC, labels_B)
            on_batch()
    return tally.loss, tally.accuracy


def _class_weights(labels_N: NDArray[np.int64], recipe: TrainingRecipe) -> torch.Tensor | None:
    """N / (C x rows of the class): every class then adds the same to the loss, and the mean weight of a row is 1."""
    if recipe.class_weights == "none":
        return None
    counts_C = np.bincount(labels_N)
    return torch.from_numpy((len(labels_N) / (len(counts_C) * np.maximum(counts_C, 1))).astype(np.float32))


def _optimizer(
    network: RnnNetwork, recipe: TrainingRecipe, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    if recipe.schedule == "constant":
        return optimizer, None
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=num_steps, pct_start=WARM_UP_SHARE
    )
    return optimizer, scheduler
