# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""DEVICE: an rnn is trained on the device that is chosen, and a run that began on one goes on on another.

Without a GPU the first is shown on torch's meta device, which checks devices and shapes and does no arithmetic.
"""

import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch

from dragoman_common.errors import FailedPreconditionError
from dragoman_models.rnn import RnnNetwork, pad
from dragoman_models.rnn_shape import RnnHyperparameters
from dragoman_trainer import loop
from dragoman_trainer.checkpointing import NoCheckpointer
from dragoman_trainer.local import LocalReporter
from dragoman_trainer.loop import EncodedSplit, fit
from dragoman_trainer.recipe import TrainingRecipe, parse_recipe
from dragoman_trainer.settings import Settings
from dragoman_trainer.training import run
from dragoman_trainer.training_state import dump_state, restore_state
from libs.models.tests.one_device import OneDevice

RECIPE = TrainingRecipe(
    epochs=2,
    batch_size=8,
    optimizer="adam",
    learning_rate=0.01,
    schedule="one_cycle",
    weight_decay=0.0,
    clip_norm=1.0,
    label_smoothing=0.0,
    class_weights="balanced",
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def network_on(device, cell="lstm"):
    torch.manual_seed(1)
    values = {"vocabulary_size": 40, "embedding_size": 6, "hidden_size": 6, "num_layers": 2}
    network = RnnNetwork(RnnHyperparameters(**values, cell=cell, dropout=0.3, embedding_dropout=0.2), 3)
    network.initialise()
    return network.to(device)


def split(num_rows):
    generator = np.random.default_rng(3)
    rows = [generator.integers(1, 40, int(generator.integers(1, 6)), dtype=np.int32) for _ in range(num_rows)]
    return EncodedSplit(rows, np.arange(num_rows) % 3)


def test_all_of_a_training_is_computed_where_the_network_is(monkeypatch):
    for name, value in (("__float__", 1.0), ("__int__", 1)):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda t, real=real, value=value: value if t.device.type == "meta" else real(t)
        )
    network = network_on("meta")
    with OneDevice(torch.ops.aten.copy_) as seen:
        history = fit(network, split(20), split(9), RECIPE, seed=5)
    assert len(history) == 2
    assert seen.on_meta > 1000
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_cuda_without_a_device_fails_the_run_and_says_what_was_found(rnn_recipe, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = parse_recipe(rnn_recipe, file="toy.yaml", overrides={})
    with pytest.raises(FailedPreconditionError, match=r"DEVICE is cuda, but .* torch"):
        run(recipe, rnn_recipe, data_dir=toy, output_dir=tmp_path, reporter=LocalReporter(), device="cuda")


def test_a_word_that_is_no_device_is_refused_with_the_settings(tmp_path):
    settings = Settings(recipe_file=tmp_path, data_dir=tmp_path)
    assert settings.device == "auto"
    with pytest.raises(ValueError, match="DEVICE: must be one of auto, cpu, cuda"):
        dataclasses.replace(settings, device="tpu")


class Kept(NoCheckpointer):
    """Keeps the state after each step, and begins with one that it is given."""

    def __init__(self, first=None) -> None:
        self.first, self.states = first, []

    def restore(self, state):
        if self.first is not None:
            assert restore_state(state, self.first, fingerprint="f")
            expected = safetensors.torch.load(self.first)
            for name, tensor in state.network.state_dict().items():
                assert torch.equal(tensor.cpu(), expected[f"weights/{name}"])

    def save_if_due(self, state):
        self.states.append(dump_state(state, fingerprint="f"))


@pytest.mark.parametrize(
    ("begins_on", "goes_on_on"),
    [
        ("cpu", "cpu"),
        *(pytest.param(*pair, marks=needs_cuda) for pair in (("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda"))),
    ],
)
def test_a_checkpoint_of_one_device_is_taken_up_on_the_other(begins_on, goes_on_on):
    first, second = Kept(), Kept()
    fit(network_on(begins_on), split(40), split(9), RECIPE, seed=5, checkpointer=first)
    second.first = first.states[2]
    network = network_on(goes_on_on)
    assert len(fit(network, split(40), split(9), RECIPE, seed=5, checkpointer=second)) == RECIPE.epochs
    assert len(second.states) == len(first.states) - 3
    assert network.device.type == goes_on_on
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


@needs_cuda
def test_dropout_on_cuda_is_a_matter_of_the_step():
    network = network_on("cuda").train()
    ids, lengths = (tensor.to("cuda") for tensor in pad(split(30).rows))
    logits = []
    for step in (1, 2, 1):
        loop._seed_dropout(network.device, 5, step)
        logits.append(network(ids, lengths).detach())
    torch.testing.assert_close(logits[0], logits[2], rtol=0, atol=1e-5)
    assert float((logits[0] - logits[1]).abs().max()) > 1e-3
