# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ``transformer`` architecture: a bidirectional encoder, whose pooled state becomes logits or is the answer.

Owns the computation on torch; its shape is in transformer_shape.py. It does not train and does not read other people's
files (transformer_import.py). docs/decisions says why it is our own and not the transformers library's.

    ids_BT, lengths_B -> token + type + position vectors -> norm -> [projection]
                      -> [attention over real tokens -> add, norm -> feed-forward -> add, norm] x layers
                      -> state of the first token, or mean of all real ones
                      -> dense -> activation -> output -> logits_BC / temperature      (with a head)
                      -> [scaled to length 1] -> vectors_BH                            (without)

No step lets a padded position reach a real one: everything but attention is computed token by token, and attention
gives padded positions the weight zero. Shape legend: B rows, T tokens, E embedding size, H hidden size, A heads,
D = H / A, C labels.

Source: Devlin et al., BERT, 2018 (and RoBERTa, ELECTRA, DistilBERT, ALBERT; for the relative bias MPNet and T5);
deviation: none in the scores. Query, key and value are one product, and there is no dropout.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import TokenIds, check_batch, softmax
from dragoman_models.device import CPU
from dragoman_models.fields import JsonScalar
from dragoman_models.pieces import pieces
from dragoman_models.tensors import read_tensors
from dragoman_models.transformer_shape import TransformerHyperparameters, tensor_specs

MAX_SCORING_ROWS = 64
MAX_SCORING_TOKENS = 16384
"""Padded tokens run together; bounds the memory of the feed-forward maps to 200 MB at intermediate size 3072."""

MAX_RELATIVE_DISTANCE = 128
"""From this distance on, all distances share the last bucket."""

WARM_UP_TOKENS = (8, 128)

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "relu": functional.relu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, inputs: Tensor) -> Tensor:
        return functional.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Layer:
    query_key_value: _Linear
    mix: _Linear
    mix_norm: _Norm
    widen: _Linear
    narrow: _Linear
    narrow_norm: _Norm


class TransformerNetwork:
    """The network over its weights, without state of its own."""

    def __init__(self, hyperparameters: TransformerHyperparameters, weights: dict[str, Tensor]) -> None:
        """Take the tensors that tensor_specs names; the mapping is emptied, so that none is held twice."""
        self.hyperparameters = h = hyperparameters
        self._tokens = weights.pop("embeddings.tokens")
        self._positions = weights.pop("embeddings.positions")
        self._token_type = weights.pop("embeddings.token_type", None)
        self._relative_bias = weights.pop("relative_bias", None)
        self._norm = _norm(weights, "embeddings.norm", h)
        self._projection = _linear(weights, "embeddings.projection") if h.projects_embeddings else None
        stored = [_layer(weights, f"layers.{number}", h) for number in range(h.num_stored_layers)]
        self._layers = stored * h.num_layers if h.shares_layers else stored
        self._head = (_linear(weights, "head.dense"), _linear(weights, "head.output")) if h.has_head else None

    @property
    def width(self) -> int:
        """C with a head, H without."""
        return self.hyperparameters.hidden_size if self._head is None else self._head[1].bias.shape[0]

    @property
    def device(self) -> torch.device:
        """Where its weights are, and its inputs must be."""
        return self._tokens.device

    def answer(self, ids_BT: Tensor, lengths_B: Tensor, *, is_padded: bool) -> Tensor:
        """Return logits_BC, not divided by the temperature, or vectors_BH.

        Args:
            ids_BT: int64, right-padded; what stands in the padding is of no consequence.
            lengths_B: int64, each from 1 to T.
            is_padded: Some length is below T. To ask the tensor would be to wait for the device.
        """
        h = self.hyperparameters
        num_tokens = ids_BT.shape[1]
        # The order of the sum is that of the original, whose rounding it repeats.
        states_BTE = functional.embedding(ids_BT, self._tokens)
        if self._token_type is not None:
            states_BTE = states_BTE + self._token_type
        states_BTE = self._norm(states_BTE + self._positions[:num_tokens])
        states_BTH = states_BTE if self._projection is None else self._projection(states_BTE)
        mask = self._mask(lengths_B, num_tokens, is_padded=is_padded)
        for layer in self._layers:
            states_BTH = self._apply(layer, states_BTH, mask)
        pooled_BH = states_BTH[:, 0] if h.pooling == "first" else _mean(states_BTH, lengths_B)
        if self._head is None:
            return functional.normalize(pooled_BH, dim=1) if h.normalises else pooled_BH
        dense, output = self._head
        return output(_ACTIVATIONS[h.head_activation](dense(pooled_BH)))

    def _apply(self, layer: _Layer, states_BTH: Tensor, mask: Tensor | None) -> Tensor:
        rows, tokens, width = states_BTH.shape
        heads = self.hyperparameters.num_heads
        split = layer.query_key_value(states_BTH).view(rows, tokens, 3, heads, width // heads)
        query_BATD, key_BATD, value_BATD = split.permute(2, 0, 3, 1, 4)
        mixed_BATD = functional.scaled_dot_product_attention(query_BATD, key_BATD, value_BATD, attn_mask=mask)
        mixed_BTH = mixed_BATD.transpose(1, 2).reshape(rows, tokens, width)
        states_BTH = layer.mix_norm(layer.mix(mixed_BTH) + states_BTH)
        wide_BTI = _ACTIVATIONS[self.hyperparameters.activation](layer.widen(states_BTH))
        return layer.narrow_norm(layer.narrow(wide_BTI) + states_BTH)

    def _mask(self, lengths_B: Tensor, num_tokens: int, *, is_padded: bool) -> Tensor | None:
        """What is added to the attention's logits: [B, 1 or A, 1 or T, T]; None for nothing."""
        real_B11T = (torch.arange(num_tokens, device=self.device) < lengths_B[:, None])[:, None, None, :]
        if self._relative_bias is None:
            return real_B11T if is_padded else None
        # Made on the host: another device's logarithm, rounded otherwise, could move a distance to the next bucket.
        buckets_TT = relative_buckets(num_tokens, self.hyperparameters.relative_buckets).to(self.device)
        bias_ATT = functional.embedding(buckets_TT, self._relative_bias).permute(2, 0, 1)
        return bias_ATT.masked_fill(~real_B11T, -torch.inf)


def _mean(states_BTH: Tensor, lengths_B: Tensor) -> Tensor:
    real_BT1 = (torch.arange(states_BTH.shape[1], device=states_BTH.device) < lengths_B[:, None])[:, :, None]
    return states_BTH.masked_fill(~real_BT1, 0.0).sum(dim=1) / lengths_B[:, None]


def relative_buckets(num_tokens: int, num_buckets: int) -> Tensor:
    """Return the bucket of each (asking, asked) pair of positions, [T, T] int64.

    Half of the buckets is for tokens that come after; in each half, half of them for one distance each, the rest for
    ranges that grow by the logarithm.

    Source: Raffel et al., T5, 2020, section 2.1, bidirectional, as used by MPNet; deviation: none.
    """
    positions_T = torch.arange(num_tokens)
    distance_TT = positions_T[:, None] - positions_T[None, :]
    half, exact = num_buckets // 2, num_buckets // 4
    far_TT = distance_TT.abs()
    growth = torch.log(far_TT.clamp(min=1).float() / exact) / math.log(MAX_RELATIVE_DISTANCE / exact)
    ranged_TT = (exact + (growth * (half - exact)).to(torch.int64)).clamp(max=half - 1)
    return torch.where(far_TT < exact, far_TT, ranged_TT) + (distance_TT < 0) * half


class TransformerClassifier:
    """A loaded transformer; implements the Classifier protocol on the device that its network is on."""

    def __init__(self, network: TransformerNetwork) -> None:
        """Take a network with a head."""
        self._network = network

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows."""
        return self._network.width

    @property
    def device(self) -> str:
        """See Classifier."""
        return self._network.device.type

    def logits(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return logits_BC divided by the temperature; see Classifier.

        Raises:
            InvalidArgumentError: as for any classifier, or a row is longer than max_positions.
        """
        return _answers(self._network, batch) / np.float32(self._network.hyperparameters.temperature)

    def score(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return scores_BC; see Classifier."""
        return softmax(self.logits(batch)) if len(batch) else np.empty((0, self.num_labels), dtype=np.float32)

    def warm_up(self) -> None:
        """Score a short and a long row alone, and both together, whose attention has padding to leave out."""
        _warm_up(self._network)


class TransformerEmbedder:
    """A loaded transformer without a head; implements the Embedder protocol on the device that its network is on."""

    def __init__(self, network: TransformerNetwork) -> None:
        """Take a network without a head."""
        self._network = network

    @property
    def embedding_size(self) -> int:
        """D, the width of the vectors."""
        return self._network.width

    @property
    def device(self) -> str:
        """See Embedder."""
        return self._network.device.type

    def embed(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return vectors_BD; see Embedder.

        Raises:
            InvalidArgumentError: as for any embedder, or a row is longer than max_positions.
        """
        return _answers(self._network, batch)

    def warm_up(self) -> None:
        """See TransformerClassifier.warm_up."""
        _warm_up(self._network)


def _answers(network: TransformerNetwork, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
    """The network's answer for rows of any lengths, [B, width] in the order given."""
    h = network.hyperparameters
    lengths = check_batch(batch, h.vocabulary_size)
    if lengths.size and lengths.max() > h.max_positions:
        row = int(lengths.argmax())
        raise InvalidArgumentError(f"row {row}: has {lengths[row]} tokens, the model reads {h.max_positions}")
    result = np.empty((len(batch), network.width), dtype=np.float32)
    with torch.inference_mode():
        for rows in pieces(lengths, max_rows=MAX_SCORING_ROWS, max_tokens=MAX_SCORING_TOKENS):
            ids_BT = np.zeros((len(rows), int(lengths[rows].max())), dtype=np.int64)
            for index, row in enumerate(rows):
                ids_BT[index, : lengths[row]] = batch[row]
            lengths_B = lengths[rows]
            answer = network.answer(
                torch.from_numpy(ids_BT).to(network.device),
                torch.from_numpy(lengths_B).to(network.device),
                is_padded=bool(lengths_B.min() < ids_BT.shape[1]),
            )
            result[rows] = answer.cpu().numpy()
    return result


def _warm_up(network: TransformerNetwork) -> None:
    limit = network.hyperparameters.max_positions
    short, long = (np.ones(min(length, limit), dtype=np.int32) for length in WARM_UP_TOKENS)
    for batch in ([short], [long], [short, long]):
        _answers(network, batch)


def load(
    hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes, *, device: str = CPU
) -> TransformerClassifier:
    """Build the classifier from a package's checked parts, on a torch device.

    Raises:
        InvalidArgumentError: a hyperparameter or the weights file does not fit; checked before memory is taken.
    """
    network = _load(hyperparameters, num_labels, weights, device)
    if not network.hyperparameters.has_head:
        raise InvalidArgumentError("the transformer has no head to classify with; it embeds")
    return TransformerClassifier(network)


def load_embedder(
    hyperparameters: Mapping[str, JsonScalar], weights: bytes, *, device: str = CPU
) -> TransformerEmbedder:
    """Build the embedder from a package's checked parts, on a torch device.

    Raises:
        InvalidArgumentError: as load.
    """
    network = _load(hyperparameters, 0, weights, device)
    if network.hyperparameters.has_head:
        raise InvalidArgumentError("the transformer has a head; it classifies")
    return TransformerEmbedder(network)


def _load(
    hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes, device: str
) -> TransformerNetwork:
    parsed = TransformerHyperparameters.parse(hyperparameters)
    arrays = read_tensors(weights, tensor_specs(parsed, num_labels))
    return TransformerNetwork(parsed, {name: torch.from_numpy(array).to(device) for name, array in arrays.items()})


def _linear(weights: dict[str, Tensor], name: str) -> _Linear:
    return _Linear(weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias"))


def _norm(weights: dict[str, Tensor], name: str, hyperparameters: TransformerHyperparameters) -> _Norm:
    return _Norm(weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias"), hyperparameters.layer_norm_eps)


def _layer(weights: dict[str, Tensor], name: str, hyperparameters: TransformerHyperparameters) -> _Layer:
    parts = [_linear(weights, f"{name}.{part}") for part in ("query", "key", "value")]
    return _Layer(
        query_key_value=_Linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])),
        mix=_linear(weights, f"{name}.mix"),
        mix_norm=_norm(weights, f"{name}.mix_norm", hyperparameters),
        widen=_linear(weights, f"{name}.widen"),
        narrow=_linear(weights, f"{name}.narrow"),
        narrow_norm=_norm(weights, f"{name}.narrow_norm", hyperparameters),
    )
