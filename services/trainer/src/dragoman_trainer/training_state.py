# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the training loop is, as bytes and back: what goes on from it ends with the same weights, bit for bit.

    network, optimiser, schedule, position in the data, random generators, figures, best weights
        -> one safetensors file, whose header's metadata hold the rest as JSON -> the same objects, restored

Nothing in it is code, and nothing of it is guessed: a state of another recipe, data set or torch is none of this run's.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from dragoman_common.errors import DataLossError
from dragoman_trainer.batches import bucketed_batches
from dragoman_trainer.history import EpochMetrics
from dragoman_trainer.tally import Tally

FORMAT: Final = "dragoman.training-state/1"
MAX_HEADER_BYTES: Final = 64 << 20

_LENGTH_BYTES: Final = 8
_WEIGHTS, _BEST, _OPTIMIZER, _RNG = "weights/", "best/", "optimizer/", "rng/torch"


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """The loop's own objects, and its counts.

    Attributes:
        epoch: The one that is under way, from 1; one more than there are when all is done.
        batch: How many of its batches are done.
        order: The state of the data's generator when that epoch began, from which its order follows.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler | None
    generator: np.random.Generator
    step: int = 0
    epoch: int = 1
    batch: int = 0
    order: dict[str, Any] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    history: list[EpochMetrics] = field(default_factory=list)
    best: tuple[float, float] | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.order = dict(self.generator.bit_generator.state)

    def batches(self, lengths_N: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the epoch's batches that are not done yet."""
        self.generator.bit_generator.state = self.order
        for number, rows in enumerate(bucketed_batches(lengths_N, batch_size, self.generator)):
            if number >= self.batch:
                yield rows

    def end_epoch(self) -> None:
        """Stand at the start of the next epoch."""
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, Tally()
        self.order = dict(self.generator.bit_generator.state)


def dump_state(state: TrainingState, *, fingerprint: str) -> bytes:
    """Return the state as bytes.

    Args:
        state: Between two steps.
        fingerprint: Names the run: recipe, data, software.
    """
    optimizer = state.optimizer.state_dict()
    tensors = {
        **{_WEIGHTS + name: tensor for name, tensor in state.network.state_dict().items()},
        **{_BEST + name: tensor for name, tensor in state.best_weights.items()},
        _RNG: torch.get_rng_state(),
    }
    for index, values in optimizer["state"].items():
        tensors |= {f"{_OPTIMIZER}{index}/{key}": value for key, value in values.items()}
    rest = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "order": state.order,
        "tally": asdict(state.tally),
        "history": [asdict(epoch) for epoch in state.history],
        "best": state.best,
        "param_groups": optimizer["param_groups"],
        "scheduler": None if state.scheduler is None else state.scheduler.state_dict(),
        "python_random": random.getstate(),
        "numpy_random": _plain(np.random.get_state(legacy=False)),  # noqa: NPY002  others may draw from it
    }
    # Floats as JSON are exact: Python writes the shortest text that reads back as the same number.
    metadata = {"state": json.dumps(rest, allow_nan=False)}
    return safetensors.torch.save(
        {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata=metadata
    )


def restore_state(state: TrainingState, data: bytes, *, fingerprint: str) -> bool:
    """Put a freshly made state where the bytes say.

    Returns:
        False when they are of another run, and nothing was changed.

    Raises:
        DataLossError: they are no state at all.
    """
    rest = _rest(data)
    if rest["fingerprint"] != fingerprint:
        return False
    tensors = safetensors.torch.load(data)
    state.network.load_state_dict(_below(tensors, _WEIGHTS))
    state.best_weights = _below(tensors, _BEST)
    per_parameter: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below(tensors, _OPTIMIZER).items():
        index, _, key = name.partition("/")
        per_parameter.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({"state": per_parameter, "param_groups": _groups(rest["param_groups"])})
    if state.scheduler is not None:
        state.scheduler.load_state_dict(rest["scheduler"])
    state.step, state.epoch, state.batch, state.order = (rest[key] for key in ("step", "epoch", "batch", "order"))
    state.generator.bit_generator.state = state.order
    state.tally = Tally(**rest["tally"])
    state.history = [EpochMetrics(**epoch) for epoch in rest["history"]]
    state.best = None if rest["best"] is None else (rest["best"][0], rest["best"][1])
    version, numbers, gauss = rest["python_random"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(_arrays(rest["numpy_random"]))  # noqa: NPY002  see dump_state
    torch.set_rng_state(tensors[_RNG])
    return True


def _rest(data: bytes) -> dict[str, Any]:
    num_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or num_bytes > min(MAX_HEADER_BYTES, len(data) - _LENGTH_BYTES):
        raise DataLossError("checkpoint: no safetensors file")
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + num_bytes])
        rest: dict[str, Any] = json.loads(header["__metadata__"]["state"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataLossError("checkpoint: its header holds no training state") from error
    if rest.get("format") != FORMAT:
        raise DataLossError(f"checkpoint: its format is not {FORMAT}")
    return rest


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON knows no tuples; the optimisers have some."""
    return [{key: tuple(v) if key == "betas" else v for key, v in group.items()} for group in groups]


def _plain(value: Any) -> Any:
    return _mapped(value, lambda v: {"uint32": v.tolist()} if isinstance(v, np.ndarray) else v)


def _arrays(value: Any) -> Any:
    return _mapped(
        value, lambda v: np.array(v["uint32"], dtype=np.uint32) if isinstance(v, dict) and "uint32" in v else v
    )


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    changed = change(value)
    if isinstance(changed, dict) and changed is value:
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return changed
