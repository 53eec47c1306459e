# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import rnn, rnn_shape
from dragoman_models.contracts import ClassifierContract, random_batch
from dragoman_models.rnn import RnnClassifier, RnnNetwork, pad
from dragoman_models.rnn_shape import RnnHyperparameters

# With more threads than free cores, OpenMP spends seconds spinning at every barrier of a tiny product.
torch.set_num_threads(1)

VOCABULARY_SIZE = 40
NUM_LABELS = 3
BASE = {
    "cell": "lstm",
    "vocabulary_size": VOCABULARY_SIZE,
    "embedding_size": 5,
    "hidden_size": 6,
    "num_layers": 2,
    "bidirectional": True,
    "pooling": "max_mean",
    "embedding_dropout": 0.3,
    "dropout": 0.5,
    "temperature": 1.0,
}
VARIANTS = [
    {"pooling": "last"},
    {"bidirectional": False, "pooling": "last"},
    {"temperature": 0.5},
    {"cell": "gru"},
    {"cell": "gru", "pooling": "last", "num_layers": 1},
]


def _network(seed=0, **changes):
    torch.manual_seed(seed)
    network = RnnNetwork(RnnHyperparameters.parse(BASE | changes), NUM_LABELS)
    network.initialise()
    return network.eval()


class TestRnnIsAClassifier(ClassifierContract):
    @pytest.fixture
    def classifier(self):
        return RnnClassifier(_network())

    @pytest.fixture
    def vocabulary_size(self):
        return VOCABULARY_SIZE


class TestRnnVariantsAreClassifiers(TestRnnIsAClassifier):
    num_random_batches = 50  # the thousand of the default variant cover the code that all share

    @pytest.fixture(params=VARIANTS, ids=lambda changes: "-".join(map(str, changes.values())))
    def classifier(self, request):
        return RnnClassifier(_network(**request.param))


@pytest.mark.parametrize("changes", [{}, *VARIANTS])
def test_whatever_stands_in_the_padding_changes_nothing(changes):
    network = _network(**changes)
    generator = np.random.default_rng(0)
    ids, lengths = pad(random_batch(generator, VOCABULARY_SIZE, 5, 9))
    expected = network(ids, lengths)
    longer = torch.cat([ids, torch.full((5, 50), rnn.PAD_ID)], dim=1)
    torch.testing.assert_close(network(longer, lengths), expected, atol=1e-6, rtol=0)
    noise = torch.randint(0, VOCABULARY_SIZE, longer.shape, generator=torch.Generator().manual_seed(1))
    is_real = torch.arange(longer.shape[1]) < lengths[:, None]
    torch.testing.assert_close(network(torch.where(is_real, longer, noise), lengths), expected, atol=1e-6, rtol=0)


def test_replacing_a_neighbour_moves_no_logit():
    network = _network()
    batch = random_batch(np.random.default_rng(1), VOCABULARY_SIZE, 4, 9)
    before = network(*pad(batch))[0]
    batch[3] = np.arange(1, 20, dtype=np.int32)
    torch.testing.assert_close(network(*pad(batch))[0], before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_equal_torchs_packed_bidirectional_rnn(cell):
    network = _network(cell=cell)
    build = nn.LSTM if cell == "lstm" else nn.GRU
    oracle = build(5, 6, num_layers=2, batch_first=True, bidirectional=True)
    weights = {}
    for index, layer in enumerate(network.layers):
        for ours, suffix in ((layer.ahead, ""), (layer.back, "_reverse")):
            for name, parameter in ours.named_parameters():
                weights[f"{name[:-1]}{index}{suffix}"] = parameter
    oracle.load_state_dict(weights)
    ids, lengths = pad(random_batch(np.random.default_rng(2), VOCABULARY_SIZE, 7, 12))
    packed = nn.utils.rnn.pack_padded_sequence(network.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(oracle(packed)[0], batch_first=True)
    positions = torch.arange(ids.shape[1])
    real = positions < lengths[:, None]
    reversal = torch.where(real, lengths[:, None] - 1 - positions, positions)
    states = network.embedding(ids)
    for layer in network.layers:
        states = layer(states, reversal)
    torch.testing.assert_close(states[real], expected[real], atol=1e-6, rtol=0)


def test_last_pooling_joins_the_two_final_states():
    network = _network(pooling="last", num_layers=1)
    row = np.array([3, 4, 5], dtype=np.int32)
    ids, lengths = pad([row, np.arange(1, 9, dtype=np.int32)])
    embedded = network.embedding(ids[:1, :3])
    layer = network.layers[0]
    _, (ahead, _) = layer.ahead(embedded)
    _, (back, _) = layer.back(embedded.flip(1))
    expected = network.output(torch.cat([ahead[-1], back[-1]], dim=1))
    torch.testing.assert_close(network(ids, lengths)[:1], expected, atol=1e-6, rtol=0)


def test_initial_weights_open_the_forget_gate_and_are_orthogonal():
    for layer in _network().layers:
        for cell in (layer.ahead, layer.back):
            assert torch.equal(cell.bias_ih_l0[6:12], torch.ones(6))
            assert not cell.bias_hh_l0.detach().any()
            for block in cell.weight_hh_l0.chunk(4):
                torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)


def test_padding_row_is_zero_and_gets_no_gradient():
    network = _network().train()
    network(*pad([np.array([1, 2], dtype=np.int32), np.array([3], dtype=np.int32)])).sum().backward()
    assert not network.embedding.weight[rnn.PAD_ID].detach().any()
    assert not network.embedding.weight.grad[rnn.PAD_ID].any()


def test_dropout_acts_in_training_even_with_one_layer():
    network = _network(num_layers=1, embedding_dropout=0.0).train()
    batch = pad([np.array([1, 2, 3], dtype=np.int32)])
    torch.manual_seed(0)
    assert not torch.equal(network(*batch), network(*batch))
    assert torch.equal(network.eval()(*batch), network(*batch))


def test_a_loaded_classifier_neither_drops_nor_records_gradients():
    network = _network().train()
    classifier = RnnClassifier(network)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    row = [np.array([1, 2, 3], dtype=np.int32)]
    np.testing.assert_array_equal(classifier.logits(row), classifier.logits(row))


def test_no_state_is_carried_between_calls():
    classifier = RnnClassifier(_network())
    row = [np.array([1, 2, 3], dtype=np.int32)]
    first = classifier.logits(row)
    classifier.logits([np.arange(1, 30, dtype=np.int32)])
    np.testing.assert_array_equal(classifier.logits(row), first)


def test_dump_and_load_give_the_same_logits_and_bytes():
    network = _network()
    data = rnn.dump(network)
    loaded = rnn.load(network.hyperparameters.to_mapping(), NUM_LABELS, data)
    batch = random_batch(np.random.default_rng(3), VOCABULARY_SIZE, 5, 9)
    np.testing.assert_array_equal(loaded.logits(batch), RnnClassifier(network).logits(batch))
    assert rnn.dump(network) == data


def test_diverged_weights_are_not_written():
    network = _network()
    with torch.no_grad():
        network.output.bias[0] = torch.nan
    with pytest.raises(InvalidArgumentError, match=r"output\.bias has NaN"):
        rnn.dump(network)


def test_weights_of_another_shape_are_refused_before_memory_is_taken():
    network = _network()
    claimed = dataclasses.replace(network.hyperparameters, vocabulary_size=1 << 22, embedding_size=4096)
    with pytest.raises(InvalidArgumentError, match=r"embedding\.weight is F32"):
        rnn.load(claimed.to_mapping(), NUM_LABELS, rnn.dump(network))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "elman"}, "cell is 'elman'; allowed: gru, lstm"),
        ({"hidden_size": True}, "hidden_size must be an integer"),
        ({"hidden_size": 10**9}, "hidden_size must be an integer from 1 to 4096"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to 0.95"),
        ({"bidirectional": "yes"}, "bidirectional must be true or false"),
        ({"auto_map": "x"}, "unknown key 'auto_map'"),
    ],
)
def test_bad_hyperparameters_are_refused_by_name(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        RnnHyperparameters.parse(BASE | changes)


def test_a_missing_hyperparameter_is_named():
    with pytest.raises(InvalidArgumentError, match="the key 'pooling' is missing"):
        RnnHyperparameters.parse({key: value for key, value in BASE.items() if key != "pooling"})


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pooling", ["max_mean", "last"])
def test_expected_tensors_are_those_of_the_network(cell, bidirectional, pooling):
    hyperparameters = RnnHyperparameters(
        cell=cell,
        vocabulary_size=7,
        embedding_size=3,
        hidden_size=5,
        num_layers=3,
        bidirectional=bidirectional,
        pooling=pooling,
    )
    built = {name: tuple(t.shape) for name, t in RnnNetwork(hyperparameters, 4).state_dict().items()}
    assert {name: spec.shape for name, spec in rnn_shape.tensor_specs(hyperparameters, 4).items()} == built
