# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ``rnn`` architecture: a stacked LSTM or GRU text classifier. On torch.

Owns the network, its initialisation and the loaded classifier; its shape is in rnn_shape.py. It does not train: the
trainer drives the same network class, so that what is served is what was trained.

    ids_BT, lengths_B -> embedding -> [forward cell | backward cell on rows reversed within their length] x layers
                      -> pooling over real tokens only -> dropout -> linear -> logits_BC / temperature

No step lets a padded position reach a real one: the backward cell reads each row reversed *within its own length*, so
padding always comes last and is dropped by the pooling. That equals a packed bidirectional RNN, and is 3.5 times
faster to train on a CPU, because oneDNN has no packed kernels (2 layers, hidden 128, batch 32, 100 tokens, 2 cores:
76 ms against 254 ms a step). Shape legend: B rows, T tokens, E embedding size, H hidden size, D = H or 2H, C labels.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.classifier import TokenIds, check_batch, softmax
from dragoman_models.device import CPU
from dragoman_models.fields import JsonScalar
from dragoman_models.pieces import pieces
from dragoman_models.rnn_shape import RnnHyperparameters, tensor_specs
from dragoman_models.tensors import read_tensors, write_tensors

PAD_ID = 0
MAX_SCORING_ROWS = 64
"""Rows run together by score(); larger calls are cut into pieces of similar length."""
MAX_SCORING_TOKENS = 16384
"""Padded tokens run together by score(); bounds its memory to a few hundred megabytes at hidden size 256."""

SCORING_LENGTH_STEP = 8
"""score() pads rows to a multiple of this: oneDNN prepares each new shape for 0.5 ms a cell, so shapes should recur."""

WARM_UP_TOKENS = 128


class RnnNetwork(nn.Module):
    """The network itself. Logits of a row do not depend on its neighbours or on how far it is padded."""

    def __init__(self, hyperparameters: RnnHyperparameters, num_labels: int) -> None:
        """Build with the global torch generator's state; see initialise for the distributions."""
        super().__init__()
        self.hyperparameters = hyperparameters
        h = hyperparameters
        self.embedding = nn.Embedding(h.vocabulary_size, h.embedding_size, padding_idx=PAD_ID)
        width = h.hidden_size * (2 if h.bidirectional else 1)
        self.layers = nn.ModuleList(
            RnnLayer(h.cell, h.embedding_size if layer == 0 else width, h.hidden_size, bidirectional=h.bidirectional)
            for layer in range(h.num_layers)
        )
        self.output = nn.Linear(width * (2 if h.pooling == "max_mean" else 1), num_labels)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and its inputs must be."""
        return self.output.weight.device

    def initialise(self) -> None:
        """Draw fresh weights: orthogonal recurrent matrices, Xavier input matrices, LSTM forget bias 1."""
        with torch.no_grad():
            for layer in self.layers:
                cast("RnnLayer", layer).initialise()
            nn.init.xavier_uniform_(self.output.weight)
            nn.init.zeros_(self.output.bias)
            self.embedding.weight[PAD_ID].zero_()

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return logits_BC, not divided by the temperature.

        Args:
            ids_BT: int64, right-padded; what stands in the padding is of no consequence.
            lengths_B: int64, each from 1 to T.
        """
        h = self.hyperparameters
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        real_BT = positions_T < lengths_B[:, None]
        reversal_BT = torch.where(real_BT, lengths_B[:, None] - 1 - positions_T, positions_T)
        states_BTD = nn.functional.dropout(self.embedding(ids_BT), h.embedding_dropout, self.training)
        for index, layer in enumerate(self.layers):
            if index > 0:
                states_BTD = nn.functional.dropout(states_BTD, h.dropout, self.training)
            states_BTD = layer(states_BTD, reversal_BT)
        pooled = self._pool(states_BTD, real_BT, lengths_B)
        return cast("Tensor", self.output(nn.functional.dropout(pooled, h.dropout, self.training)))

    def _pool(self, states_BTD: Tensor, real_BT: Tensor, lengths_B: Tensor) -> Tensor:
        if self.hyperparameters.pooling == "max_mean":
            real_BT1 = real_BT[:, :, None]
            highest_BD = states_BTD.masked_fill(~real_BT1, -torch.inf).amax(dim=1)
            mean_BD = states_BTD.masked_fill(~real_BT1, 0.0).sum(dim=1) / lengths_B[:, None]
            return torch.cat([highest_BD, mean_BD], dim=1)
        rows = torch.arange(states_BTD.shape[0], device=states_BTD.device)
        size = self.hyperparameters.hidden_size
        forward_BH = states_BTD[rows, lengths_B - 1, :size]
        # The backward half has read the whole row when it stands at the first token, not at the last one.
        return torch.cat([forward_BH, states_BTD[:, 0, size:]], dim=1)


class RnnLayer(nn.Module):
    """One layer: a forward cell and, if bidirectional, a backward one; both stateless between calls."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, *, bidirectional: bool) -> None:
        """Build one or two single-layer torch RNNs, batch first."""
        super().__init__()
        build = nn.LSTM if cell == "lstm" else nn.GRU
        self.ahead = build(input_size, hidden_size, batch_first=True)
        self.back = build(input_size, hidden_size, batch_first=True) if bidirectional else None

    def initialise(self) -> None:
        """Draw fresh weights; see RnnNetwork.initialise."""
        for rnn in filter(None, (self.ahead, self.back)):
            for name, parameter in rnn.named_parameters():
                if name.startswith("weight_hh"):
                    for block in parameter.chunk(parameter.shape[0] // rnn.hidden_size):
                        nn.init.orthogonal_(block)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(parameter)
                else:
                    nn.init.zeros_(parameter)
                    if isinstance(rnn, nn.LSTM) and name.startswith("bias_ih"):
                        # torch orders the gates input, forget, cell, output; an open forget gate keeps early gradients.
                        parameter[rnn.hidden_size : 2 * rnn.hidden_size].fill_(1.0)

    def forward(self, inputs_BTE: Tensor, reversal_BT: Tensor) -> Tensor:
        """Return states_BTD; positions beyond a row's length hold values that must not be used."""
        ahead_BTH, _ = self.ahead(inputs_BTE)
        if self.back is None:
            return cast("Tensor", ahead_BTH)
        back_BTH, _ = self.back(_reverse(inputs_BTE, reversal_BT))
        return torch.cat([ahead_BTH, _reverse(back_BTH, reversal_BT)], dim=2)


def _reverse(values_BTE: Tensor, reversal_BT: Tensor) -> Tensor:
    return torch.gather(values_BTE, 1, reversal_BT[:, :, None].expand(-1, -1, values_BTE.shape[2]))


class RnnClassifier:
    """A loaded rnn model; implements the Classifier protocol on the device that its network is on."""

    def __init__(self, network: RnnNetwork) -> None:
        """Take over a network; it is put into evaluation mode and no longer records gradients."""
        self._network = network.eval().requires_grad_(requires_grad=False)

    @property
    def num_labels(self) -> int:
        """C, the width of the score rows."""
        return self._network.output.out_features

    @property
    def device(self) -> str:
        """See Classifier."""
        return self._network.device.type

    def logits(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return logits_BC divided by the temperature; see Classifier."""
        h = self._network.hyperparameters
        lengths = check_batch(batch, h.vocabulary_size)
        device = self._network.device
        result = np.empty((len(batch), self.num_labels), dtype=np.float32)
        with torch.inference_mode():
            for rows in pieces(lengths, max_rows=MAX_SCORING_ROWS, max_tokens=MAX_SCORING_TOKENS):
                ids_BT, lengths_B = pad([batch[row] for row in rows], length_step=SCORING_LENGTH_STEP)
                logits_BC = self._network(ids_BT.to(device), lengths_B.to(device)) / h.temperature
                result[rows] = logits_BC.cpu().numpy()
        return result

    def score(self, batch: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return scores_BC; see Classifier."""
        return softmax(self.logits(batch)) if len(batch) else np.empty((0, self.num_labels), dtype=np.float32)

    def warm_up(self) -> None:
        """Score one row of each padded length up to 128 tokens: oneDNN prepares its kernels per shape, CUDA itself."""
        for length in range(SCORING_LENGTH_STEP, WARM_UP_TOKENS + 1, SCORING_LENGTH_STEP):
            self.score([np.ones(length, dtype=np.int32)])


def pad(rows: Sequence[TokenIds], *, length_step: int = 1) -> tuple[Tensor, Tensor]:
    """Right-pad rows with PAD_ID.

    Args:
        rows: B rows of 1..T token ids.
        length_step: T becomes a multiple of this.

    Returns:
        ids_BT and lengths_B, both int64.
    """
    lengths = [row.size for row in rows]
    padded = np.full((len(rows), -(-max(lengths) // length_step) * length_step), PAD_ID, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : row.size] = row
    return torch.from_numpy(padded), torch.tensor(lengths, dtype=torch.int64)


def load(
    hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes, *, device: str = CPU
) -> RnnClassifier:
    """Build the classifier from a package's checked parts, on a torch device.

    Raises:
        InvalidArgumentError: a hyperparameter or the weights file does not fit; checked before memory is taken.
    """
    parsed = RnnHyperparameters.parse(hyperparameters)
    arrays = read_tensors(weights, tensor_specs(parsed, num_labels))
    # Not on torch's meta device, whose first use imports for a second of CPU time: a model process starts in less.
    network = RnnNetwork(parsed, num_labels)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, assign=True)
    # As a whole: cuDNN wants each cell's weights in one piece, and torch makes one of them when it moves the module.
    return RnnClassifier(network.to(device))


def dump(network: RnnNetwork) -> bytes:
    """Serialise the network's weights; the same weights give the same bytes.

    Raises:
        InvalidArgumentError: a weight is NaN or infinite, as after a diverged training run.
    """
    arrays = {name: tensor.detach().to(torch.float32).cpu().numpy() for name, tensor in network.state_dict().items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InvalidArgumentError(f"{name} has NaN or infinite values: the training diverged")
    return write_tensors(arrays)
