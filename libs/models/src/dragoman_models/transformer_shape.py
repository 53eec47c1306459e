# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The shape of the ``transformer`` architecture: its hyperparameters, and the exact tensors that follow. No torch.

One schema covers the encoders that differ in a few switches only: BERT, RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT,
ALBERT and MPNet, with a classification head or without. The registry judges a package by this before anything is
promoted; the worker by the same before it takes memory. Where such a model comes from is not said here
(transformer_import.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonScalar
from dragoman_models.package import MODEL_FILE
from dragoman_models.tensors import TensorSpec

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
NO_HEAD = "none"
HEAD_ACTIVATIONS = ("tanh", "gelu", "relu", NO_HEAD)
POOLINGS = ("first", "mean")
MAX_LAYERS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerHyperparameters:
    """What fixes the network's shape and its scores.

    Attributes:
        embedding_size: Width of the embedding tables; a linear map widens it to hidden_size where
            ``projects_embeddings``, else the two are equal.
        intermediate_size: Width between the two feed-forward maps of a layer.
        max_positions: Longest row, special tokens included.
        activation: Of the feed-forward maps: ``gelu`` (exact), ``gelu_tanh`` (its tanh approximation), ``relu``.
        has_token_type: A vector is added to every token: the first row of a table of token types.
        shares_layers: All layers have the weights of the first.
        relative_buckets: Buckets of relative distance whose learned bias is added in every attention; 0 for none.
        pooling: What becomes of the tokens' states: ``first`` is the first token's, ``mean`` that of all real tokens.
        head_activation: Between the two linear maps that turn the pooled state into logits; ``none`` where there is no
            head, and the pooled state itself is the answer.
        normalises: The answer without a head is scaled to length 1.
        temperature: Logits are divided by it; fitted on held-out data after training.
    """

    vocabulary_size: int
    embedding_size: int
    projects_embeddings: bool = False
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    max_positions: int
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    has_token_type: bool = True
    shares_layers: bool = False
    relative_buckets: int = 0
    pooling: str = "first"
    head_activation: str = "tanh"
    normalises: bool = False
    temperature: float = 1.0

    @classmethod
    def parse(cls, values: Mapping[str, JsonScalar]) -> Self:
        """Check every hyperparameter; all are required, no other is accepted.

        Raises:
            InvalidArgumentError: a key or value outside what is listed here, or sizes that do not fit each other.
        """
        what = f"{MODEL_FILE}: transformer hyperparameters"
        fields = Fields(dict(values), what=what, required=tuple(cls.__dataclass_fields__))
        parsed = cls(
            vocabulary_size=fields.integer("vocabulary_size", low=2, high=1 << 22),
            embedding_size=fields.integer("embedding_size", low=1, high=8192),
            projects_embeddings=fields.flag("projects_embeddings"),
            hidden_size=fields.integer("hidden_size", low=1, high=8192),
            intermediate_size=fields.integer("intermediate_size", low=1, high=1 << 16),
            num_layers=fields.integer("num_layers", low=1, high=MAX_LAYERS),
            num_heads=fields.integer("num_heads", low=1, high=128),
            max_positions=fields.integer("max_positions", low=1, high=1 << 15),
            activation=fields.text("activation", choices=ACTIVATIONS),
            layer_norm_eps=fields.number("layer_norm_eps", low=1e-15, high=0.1),
            has_token_type=fields.flag("has_token_type"),
            shares_layers=fields.flag("shares_layers"),
            relative_buckets=fields.integer("relative_buckets", low=0, high=1024),
            pooling=fields.text("pooling", choices=POOLINGS),
            head_activation=fields.text("head_activation", choices=HEAD_ACTIVATIONS),
            normalises=fields.flag("normalises"),
            temperature=fields.number("temperature", low=0.01, high=100),
        )
        if parsed.hidden_size % parsed.num_heads:
            raise InvalidArgumentError(
                f"{what}: hidden_size {parsed.hidden_size} must be a multiple of num_heads {parsed.num_heads}"
            )
        if not parsed.projects_embeddings and parsed.embedding_size != parsed.hidden_size:
            raise InvalidArgumentError(f"{what}: embedding_size must be hidden_size unless projects_embeddings is true")
        if parsed.normalises and parsed.has_head:
            raise InvalidArgumentError(f"{what}: normalises must be false where there is a head")
        # Half of the buckets is for tokens before, and half of those for exact distances; see transformer.py.
        if parsed.relative_buckets % 4:
            raise InvalidArgumentError(f"{what}: relative_buckets must be a multiple of 4")
        return parsed

    def to_mapping(self) -> dict[str, JsonScalar]:
        """Return the form that model.json holds."""
        return asdict(self)

    @property
    def has_head(self) -> bool:
        """It classifies; without a head it embeds."""
        return self.head_activation != NO_HEAD

    @property
    def num_stored_layers(self) -> int:
        """Layers that have weights of their own."""
        return 1 if self.shares_layers else self.num_layers


def tensor_specs(hyperparameters: TransformerHyperparameters, num_labels: int) -> dict[str, TensorSpec]:
    """Return the exact tensors of the network's weights file, without building the network."""
    h = hyperparameters
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.tokens": (h.vocabulary_size, h.embedding_size),
        "embeddings.positions": (h.max_positions, h.embedding_size),
        **_norm("embeddings.norm", h.embedding_size),
    }
    if h.has_token_type:
        shapes["embeddings.token_type"] = (h.embedding_size,)
    if h.projects_embeddings:
        shapes |= _linear("embeddings.projection", h.hidden_size, h.embedding_size)
    if h.relative_buckets:
        shapes["relative_bias"] = (h.relative_buckets, h.num_heads)
    for layer in range(h.num_stored_layers):
        name = f"layers.{layer}"
        for part in ("query", "key", "value", "mix"):
            shapes |= _linear(f"{name}.{part}", h.hidden_size, h.hidden_size)
        shapes |= _norm(f"{name}.mix_norm", h.hidden_size)
        shapes |= _linear(f"{name}.widen", h.intermediate_size, h.hidden_size)
        shapes |= _linear(f"{name}.narrow", h.hidden_size, h.intermediate_size)
        shapes |= _norm(f"{name}.narrow_norm", h.hidden_size)
    if h.has_head:
        shapes |= _linear("head.dense", h.hidden_size, h.hidden_size)
        shapes |= _linear("head.output", num_labels, h.hidden_size)
    return {name: TensorSpec("F32", shape) for name, shape in shapes.items()}


def _linear(name: str, num_outputs: int, num_inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (num_outputs, num_inputs), f"{name}.bias": (num_outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
