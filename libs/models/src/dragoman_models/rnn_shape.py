# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The shape of the ``rnn`` architecture: its hyperparameters, and the exact tensors that follow from them. No torch.

The registry judges a package by this before anything is promoted; the worker by the same before it takes memory.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from dragoman_models.fields import Fields, JsonScalar
from dragoman_models.package import MODEL_FILE
from dragoman_models.tensors import TensorSpec

CELLS = ("lstm", "gru")
POOLINGS = ("max_mean", "last")


@dataclass(frozen=True, kw_only=True, slots=True)
class RnnHyperparameters:
    """What fixes the network's shape and its scores.

    Attributes:
        pooling: ``max_mean`` concatenates the maximum and the mean over real tokens; ``last`` concatenates the forward
            state at the last real token and the backward state at the first.
        embedding_dropout: Share of embedding components dropped in training.
        dropout: Share dropped between layers and before the output layer in training.
        temperature: Logits are divided by it; fitted on held-out data after training.
    """

    cell: str = "lstm"
    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int = 2
    bidirectional: bool = True
    pooling: str = "max_mean"
    embedding_dropout: float = 0.0
    dropout: float = 0.0
    temperature: float = 1.0

    @classmethod
    def parse(cls, values: Mapping[str, JsonScalar]) -> Self:
        """Check every hyperparameter; all are required, no other is accepted.

        Raises:
            InvalidArgumentError: a key or value outside what is listed here.
        """
        fields = Fields(
            dict(values), what=f"{MODEL_FILE}: rnn hyperparameters", required=tuple(cls.__dataclass_fields__)
        )
        return cls(
            cell=fields.text("cell", choices=CELLS),
            vocabulary_size=fields.integer("vocabulary_size", low=2, high=1 << 22),
            embedding_size=fields.integer("embedding_size", low=1, high=4096),
            hidden_size=fields.integer("hidden_size", low=1, high=4096),
            num_layers=fields.integer("num_layers", low=1, high=8),
            bidirectional=fields.flag("bidirectional"),
            pooling=fields.text("pooling", choices=POOLINGS),
            embedding_dropout=fields.number("embedding_dropout", low=0, high=0.95),
            dropout=fields.number("dropout", low=0, high=0.95),
            temperature=fields.number("temperature", low=0.01, high=100),
        )

    def to_mapping(self) -> dict[str, JsonScalar]:
        """Return the form that model.json holds."""
        return asdict(self)


def tensor_specs(hyperparameters: RnnHyperparameters, num_labels: int) -> dict[str, TensorSpec]:
    """Return the exact tensors of the network's weights file, without building the network."""
    h = hyperparameters
    # An LSTM has four gates a unit, a GRU three; torch stacks their weights in one matrix.
    gates = h.hidden_size * (4 if h.cell == "lstm" else 3)
    width = h.hidden_size * (2 if h.bidirectional else 1)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (h.vocabulary_size, h.embedding_size)}
    for layer in range(h.num_layers):
        input_size = h.embedding_size if layer == 0 else width
        for direction in ("ahead", "back") if h.bidirectional else ("ahead",):
            name = f"layers.{layer}.{direction}"
            shapes[f"{name}.weight_ih_l0"] = (gates, input_size)
            shapes[f"{name}.weight_hh_l0"] = (gates, h.hidden_size)
            shapes[f"{name}.bias_ih_l0"] = shapes[f"{name}.bias_hh_l0"] = (gates,)
    shapes["output.weight"] = (num_labels, width * (2 if h.pooling == "max_mean" else 1))
    shapes["output.bias"] = (num_labels,)
    return {name: TensorSpec("F32", shape) for name, shape in shapes.items()}
