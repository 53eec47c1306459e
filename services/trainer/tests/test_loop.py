# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.rnn import RnnNetwork, dump, pad
from dragoman_models.rnn_shape import RnnHyperparameters
from dragoman_trainer import loop
from dragoman_trainer.loop import EncodedSplit, fit, measure
from dragoman_trainer.recipe import TrainingRecipe

# With more threads than free cores, OpenMP spends seconds spinning at every barrier of a tiny product.
torch.set_num_threads(1)

VOCABULARY_SIZE = 60
NUM_LABELS = 3
RECIPE = TrainingRecipe(
    epochs=1,
    batch_size=8,
    optimizer="adam",
    learning_rate=0.01,
    schedule="constant",
    weight_decay=0.0,
    clip_norm=1.0,
    label_smoothing=0.0,
)


def _network(seed=0, **changes):
    torch.manual_seed(seed)
    hyperparameters = RnnHyperparameters(
        vocabulary_size=VOCABULARY_SIZE, embedding_size=8, hidden_size=8, num_layers=1, **changes
    )
    network = RnnNetwork(hyperparameters, NUM_LABELS)
    network.initialise()
    return network


def _split(num_rows, seed=0, *, majority=0):
    """Rows of filler ids 20.. with one or two ids of the label's own range; ``majority`` rows more of label 0."""
    generator = np.random.default_rng(seed)
    labels = np.array([number % NUM_LABELS for number in range(num_rows)] + [0] * majority)
    rows = []
    for label in labels:
        row = generator.integers(20, VOCABULARY_SIZE, int(generator.integers(2, 20)), dtype=np.int32)
        row[int(generator.integers(0, row.size))] = 2 + label * 6 + int(generator.integers(0, 6))
        rows.append(row)
    return EncodedSplit(rows, labels)


def test_it_can_overfit_32_documents():
    train = _split(32)
    network = _network()
    fit(network, train, train, dataclasses.replace(RECIPE, epochs=40, learning_rate=0.02), seed=1)
    assert measure(network, train)[1] == 1.0


def test_one_epoch_beats_the_majority_by_30_points():
    train, dev = _split(360, majority=240), _split(60, seed=1, majority=40)
    majority = np.bincount(dev.labels).max() / len(dev.labels)
    (epoch,) = fit(_network(), train, dev, dataclasses.replace(RECIPE, learning_rate=0.05), seed=1)
    assert epoch.dev_accuracy >= majority + 0.3


@pytest.mark.parametrize("batch_size", [1, 7, 64, 101])
def test_loss_and_accuracy_are_the_same_for_any_batch_size(batch_size):
    network, split = _network(), _split(101)
    with torch.inference_mode():
        logits = network.eval()(*pad(split.rows))
        labels = torch.from_numpy(split.labels)
        expected_loss = float(nn.functional.cross_entropy(logits, labels))
        expected_accuracy = float((logits.argmax(dim=1) == labels).sum()) / 101
    loss, accuracy = measure(network, split, batch_size=batch_size)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert accuracy == expected_accuracy


def test_training_figures_count_every_row_once():
    train = _split(21)
    seen = []
    history = fit(
        _network(), train, train, dataclasses.replace(RECIPE, learning_rate=1e-6), seed=1, on_step=seen.append
    )
    loss, accuracy = measure(_network(), train)
    assert history[0].train_loss == pytest.approx(loss, abs=1e-3)
    assert history[0].train_accuracy == pytest.approx(accuracy, abs=1e-9)
    assert [step.step for step in seen] == [1, 2, 3]
    assert {step.num_steps for step in seen} == {3}
    assert [step.epoch is not None for step in seen] == [False, False, True]


def test_the_loss_takes_logits_not_probabilities():
    split = _split(16)
    network = _network()
    with torch.inference_mode():
        logits = network.eval()(*pad(split.rows))
    assert not torch.allclose(logits.sum(dim=1), torch.ones(16), atol=0.2)
    expected = float(nn.functional.nll_loss(torch.log_softmax(logits, dim=1), torch.from_numpy(split.labels)))
    assert measure(network, split)[0] == pytest.approx(expected, abs=1e-5)


def test_measuring_neither_drops_nor_records_nor_changes_the_weights():
    network, split = _network(dropout=0.5, embedding_dropout=0.5).train(), _split(20)
    before = dump(network)
    assert measure(network, split) == measure(network, split)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert dump(network) == before


def test_the_best_epoch_on_dev_is_kept_not_the_last(monkeypatch):
    network, train = _network(), _split(24)
    weights, scores = [], iter([(0.5, 0.8), (0.4, 0.9), (0.3, 0.9), (0.9, 0.1)])

    def measured(measured_network, _split, **_how):
        weights.append(dump(measured_network))
        return next(scores)

    monkeypatch.setattr(loop, "measure", measured)
    history = fit(network, train, train, dataclasses.replace(RECIPE, epochs=4), seed=1)
    assert [epoch.dev_accuracy for epoch in history] == [0.8, 0.9, 0.9, 0.1]
    assert dump(network) == weights[2]
    assert len(set(weights)) == 4


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(schedule):
    recipe = dataclasses.replace(RECIPE, epochs=2, schedule=schedule, optimizer="adamw", weight_decay=0.01)

    def weights(seed):
        network = _network(dropout=0.5, embedding_dropout=0.2)
        fit(network, _split(40), _split(20, seed=1), recipe, seed=seed)
        return dump(network)

    assert weights(5) == weights(5)
    assert weights(5) != weights(6)


def test_no_step_follows_a_gradient_longer_than_the_clip(monkeypatch):
    norms = []

    class Watching(torch.optim.Adam):
        def step(self, closure=None):
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.cat(gradients).norm()))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watching)
    (epoch,) = fit(_network(), _split(40), _split(10), dataclasses.replace(RECIPE, clip_norm=0.01), seed=1)
    assert len(norms) == 5
    assert max(norms) <= 0.01 + 1e-6
    assert epoch.share_clipped == 1.0
    assert epoch.mean_gradient_norm > 0.01


def test_the_padding_row_of_the_embedding_stays_zero():
    network = _network(embedding_dropout=0.2)
    fit(network, _split(40), _split(10), dataclasses.replace(RECIPE, optimizer="adamw", weight_decay=0.1), seed=1)
    assert not network.embedding.weight[0].detach().any()


def test_a_diverged_loss_stops_the_training_with_its_step():
    network = _network()
    with torch.no_grad():
        network.output.weight.fill_(torch.inf)
    with pytest.raises(InvalidArgumentError, match="diverged at step 1"):
        fit(network, _split(16), _split(8), RECIPE, seed=1)


def test_an_exception_of_the_watcher_stops_the_training():
    class StopError(Exception):
        pass

    def watch(step):
        if step.step == 2:
            raise StopError

    with pytest.raises(StopError):
        fit(_network(), _split(40), _split(10), RECIPE, seed=1, on_step=watch)


def test_balanced_weights_give_every_class_the_same_share_of_the_loss():
    labels = np.array([0] * 12 + [1] * 3 + [2])
    recipe = dataclasses.replace(RECIPE, class_weights="balanced")
    weights_C = loop._class_weights(labels, recipe).numpy()
    np.testing.assert_allclose(np.bincount(labels) * weights_C, 16 / 3, rtol=1e-6)
    np.testing.assert_allclose(weights_C[labels].mean(), 1, rtol=1e-6)
    assert loop._class_weights(labels, RECIPE) is None


def test_balanced_weights_find_a_rare_label_sooner():
    train = _split(30, majority=240)
    dev = _split(60, seed=9)
    accuracies = {}
    for class_weights in ("none", "balanced"):
        network = _network(seed=3)
        recipe = dataclasses.replace(RECIPE, epochs=3, class_weights=class_weights)
        fit(network, train, dev, recipe, seed=1)
        accuracies[class_weights] = measure(network, dev)[1]
    assert accuracies["balanced"] > accuracies["none"]
