# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The device: chosen, never guessed, and everything that a model computes is computed there.

Without a GPU the second is shown on torch's meta device, which runs every operation's checks of shapes and devices and
no arithmetic: what the operations see is recorded. The figures themselves are compared where CUDA is.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dragoman_models import device, rnn, transformer
from dragoman_models.contracts import random_batch
from dragoman_models.device import DeviceMissingError
from dragoman_models.rnn_shape import RnnHyperparameters
from dragoman_models.tensors import write_tensors
from dragoman_models.transformer_shape import TransformerHyperparameters, tensor_specs
from libs.models.tests.one_device import META, OneDevice

VOCABULARY_SIZE = 50
NUM_LABELS = 3
RNNS = {cell: {"cell": cell, "pooling": pooling} for cell, pooling in (("lstm", "max_mean"), ("gru", "last"))}
# As BERT, and with what MPNet has more.
TRANSFORMERS = {"bert": {}, "mpnet": {"relative_buckets": 8}}
MODELS = [*RNNS, *TRANSFORMERS]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def load(name, on, *, embeds=False):
    """A small random model of that name, by way of the bytes of its weights file."""
    if name in RNNS:
        torch.manual_seed(3)
        values = {"vocabulary_size": VOCABULARY_SIZE, "embedding_size": 16, "hidden_size": 24, "num_layers": 2}
        hyperparameters = RnnHyperparameters(**values, **RNNS[name])
        network = rnn.RnnNetwork(hyperparameters, NUM_LABELS)
        network.initialise()
        return rnn.load(hyperparameters.to_mapping(), NUM_LABELS, rnn.dump(network), device=on)
    hyperparameters = TransformerHyperparameters(
        vocabulary_size=VOCABULARY_SIZE,
        embedding_size=16,
        hidden_size=16,
        intermediate_size=32,
        num_layers=2,
        num_heads=4,
        max_positions=256,
        **TRANSFORMERS[name],
        **({"pooling": "mean", "head_activation": "none", "normalises": True} if embeds else {}),
    )
    generator = np.random.default_rng(3)
    shapes = tensor_specs(hyperparameters, 0 if embeds else NUM_LABELS)
    weights = write_tensors(
        {key: generator.normal(0, 0.4, spec.shape).astype(np.float32) for key, spec in shapes.items()}
    )
    if embeds:
        return transformer.load_embedder(hyperparameters.to_mapping(), weights, device=on)
    return transformer.load(hyperparameters.to_mapping(), NUM_LABELS, weights, device=on)


@pytest.fixture
def brought_back(monkeypatch):
    """The devices that answers came from: meta has no values to bring, so zeros come."""
    origins = []

    def cpu(tensor):
        origins.append(tensor.device.type)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    return origins


@pytest.mark.parametrize("name", MODELS)
def test_all_that_a_classifier_computes_is_computed_on_its_device(name, brought_back, monkeypatch):
    # Without arithmetic a step of a cell takes milliseconds all the same.
    monkeypatch.setattr(rnn, "WARM_UP_TOKENS", rnn.SCORING_LENGTH_STEP)
    classifier = load(name, META)
    brought_back.clear()
    with OneDevice() as seen:
        scores = classifier.score(random_batch(np.random.default_rng(1), VOCABULARY_SIZE, 5, 9))
        classifier.warm_up()
    assert classifier.device == META
    assert set(brought_back) == {META}
    assert seen.on_meta > 20
    assert (scores.dtype, scores.shape) == (np.float32, (5, NUM_LABELS))


def test_all_that_an_embedder_computes_is_computed_on_its_device(brought_back):
    embedder = load("bert", META, embeds=True)
    with OneDevice() as seen:
        vectors = embedder.embed(random_batch(np.random.default_rng(1), VOCABULARY_SIZE, 5, 40))
    assert embedder.device == META
    assert brought_back == [META]
    assert seen.on_meta > 20
    assert vectors.dtype == np.float32


def test_no_weight_is_left_on_the_host():
    network = load("lstm", META)._network
    assert {tensor.device.type for tensor in network.state_dict().values()} == {META}


@needs_cuda
@pytest.mark.parametrize("name", MODELS)
def test_cuda_answers_what_the_cpu_answers(name):
    batch = random_batch(np.random.default_rng(2), VOCABULARY_SIZE, 100, 200)
    on_cuda = load(name, device.choose("cuda"))
    np.testing.assert_allclose(on_cuda.score(batch), load(name, "cpu").score(batch), rtol=0, atol=1e-5)
    alone = np.concatenate([on_cuda.score([row]) for row in batch])
    np.testing.assert_allclose(on_cuda.score(batch), alone, rtol=0, atol=1e-5)


@pytest.fixture
def torch_sees(monkeypatch):
    """Says what torch finds: whether there is a device, and the CUDA that it was built with."""

    def see(available, built_with="13.2"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
        monkeypatch.setattr(torch.version, "cuda", built_with)

    return see


@pytest.fixture
def tf32_is_on():
    """Both switches, which are the process's."""
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield
    for switch, value in zip(switches, before, strict=True):
        switch.allow_tf32 = value


@pytest.mark.parametrize(
    ("choice", "available", "chosen"),
    [
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
@pytest.mark.usefixtures("tf32_is_on")
def test_the_choice_is_followed(torch_sees, choice, available, chosen):
    torch_sees(available)
    assert device.choose(choice) == chosen


def test_cuda_where_there_is_none_is_an_error_that_says_what_was_found(torch_sees):
    torch_sees(available=False)
    with pytest.raises(
        DeviceMissingError, match=r"DEVICE is cuda, but no CUDA device is visible to torch .*CUDA 13\.2"
    ):
        device.choose("cuda")
    torch_sees(available=False, built_with=None)
    with pytest.raises(DeviceMissingError, match=r"DEVICE is cuda, but torch .* was built without CUDA"):
        device.choose("cuda")


@pytest.mark.usefixtures("tf32_is_on")
def test_float32_is_not_shortened_on_cuda(torch_sees):
    torch_sees(available=True)
    device.choose("cuda")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert "tf32" not in {part.fp32_precision for part in (torch.backends.cuda.matmul, torch.backends.cudnn.rnn)}


def test_another_word_is_no_choice():
    with pytest.raises(ValueError, match="DEVICE: must be one of auto, cpu, cuda"):
        device.choose("gpu")


def test_a_linear_model_asks_for_no_device_and_imports_no_torch():
    script = """
import sys
import numpy as np
from dragoman_models import linear
from dragoman_models.architecture import load_classifier
from dragoman_models.package import Architecture, ModelConfig, TokenizerFile
values = linear.LinearHyperparameters(vocabulary_size=9, ngram_max=1, num_features=8, sublinear_tf=True)
vectoriser = linear.Vectoriser(values, np.arange(2, 10, dtype=np.int64), np.ones(8, dtype=np.float32))
weights = linear.dump(vectoriser, np.ones((8, 2), dtype=np.float32), np.zeros(2, dtype=np.float32))
config = ModelConfig(
    architecture=Architecture(name="linear", hyperparameters=values.to_mapping()),
    labels=("a", "b"),
    tokenizer=TokenizerFile(backend="basic_english"),
)
classifier = load_classifier(config, weights, device="cuda")
classifier.warm_up()
print(classifier.device, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]
