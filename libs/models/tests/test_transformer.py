# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import architecture, transformer
from dragoman_models.contracts import ClassifierContract, random_batch, random_row
from dragoman_models.package import (
    Architecture,
    InputLimits,
    ModelConfig,
    TokenizerFile,
    parse_model_config,
    to_json,
)
from dragoman_models.tensors import write_tensors
from dragoman_models.transformer_families import FAMILIES
from dragoman_models.transformer_import import convert, parse_source
from dragoman_models.transformer_shape import TransformerHyperparameters, tensor_specs

# With more threads than free cores, OpenMP spends seconds spinning at every barrier of a tiny product.
torch.set_num_threads(1)

VOCABULARY_SIZE = 60
MAX_POSITIONS = 512
LABELS = ("a", "b", "c")
FAMILY_NAMES = [family.model_type for family in FAMILIES]
SIZES = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    # The tables of RoBERTa and MPNet begin with rows that no token takes.
    "max_position_embeddings": MAX_POSITIONS + 2,
    # The usual 0.02 would give all texts nearly the same scores.
    "initializer_range": 0.4,
}
DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}


def original(name, seed=0, **changes):
    """A random model of the transformers library, with dropout of 0.5 in its configuration."""
    family = next(family for family in FAMILIES if family.model_type == name)
    values = {**SIZES, "embedding_size": 8} if family.embedding_size_key else dict(SIZES)
    if name == "distilbert":
        values = {DISTILBERT_NAMES.get(key, key): value for key, value in values.items()}
    values |= {"dropout": 0.5} if name == "distilbert" else {"hidden_dropout_prob": 0.5}
    config_class = transformers.CONFIG_MAPPING[name]
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    config = config_class(**(values | labels | changes))
    torch.manual_seed(seed)
    model = getattr(transformers, family.classifier)._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        # Biases and norms start as zeros and ones, which would hide their exchange.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def source_of(model):
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__]}
    return parse_source(json.dumps(config, default=str).encode())


def ours(model):
    """The same model in this library, by way of the bytes of its weights file."""
    source = source_of(model)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weights = write_tensors(convert(source, state.__getitem__))
    return transformer.load(source.hyperparameters.to_mapping(), len(LABELS), weights)


def theirs(model, batch):
    """The library's logits for one padded batch."""
    width = max(row.size for row in batch)
    pad_id = model.config.pad_token_id
    ids = torch.full((len(batch), width), pad_id)
    mask = torch.zeros((len(batch), width), dtype=torch.int64)
    for index, row in enumerate(batch):
        ids[index, : row.size] = torch.from_numpy(row)
        mask[index, : row.size] = 1
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).logits.numpy()


def mixed_batch(seed):
    """Rows of 1 to 500 tokens, none of them a padding token of any family."""
    generator = np.random.default_rng(seed)
    return [random_row(generator, VOCABULARY_SIZE - 2, length) + 2 for length in (1, 2, 500, 17, 3, 130, 64, 9)]


class TestTransformerIsAClassifier(ClassifierContract):
    num_random_batches = 200

    @pytest.fixture
    def classifier(self):
        return ours(original("bert"))

    @pytest.fixture
    def vocabulary_size(self):
        return VOCABULARY_SIZE


class TestTransformerFamiliesAreClassifiers(TestTransformerIsAClassifier):
    num_random_batches = 30

    @pytest.fixture(params=[name for name in FAMILY_NAMES if name != "bert"])
    def classifier(self, request):
        return ours(original(request.param))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_scores_equal_the_transformers_library_s(name):
    model = original(name)
    batch = mixed_batch(1)
    expected = torch.softmax(torch.from_numpy(theirs(model, batch)), dim=1).numpy()
    classifier = ours(model)
    assert np.ptp(expected, axis=0).max() > 0.1, "the texts must differ for the comparison to mean something"
    np.testing.assert_allclose(classifier.score(batch), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.concatenate([classifier.score([row]) for row in batch]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"hidden_act": "gelu_new"}),
        ("bert", {"layer_norm_eps": 1e-2}),
        ("bert", {"num_attention_heads": 4, "num_hidden_layers": 5}),
        ("bert", {"type_vocab_size": 1}),
        ("electra", {"embedding_size": 16}),
        ("albert", {"embedding_size": 16, "hidden_act": "gelu"}),
        ("roberta", {"pad_token_id": 0}),
    ],
)
def test_every_switch_of_a_config_is_computed(name, changes):
    model = original(name, **changes)
    batch = random_batch(np.random.default_rng(2), VOCABULARY_SIZE - 2, 8, 60)
    batch = [row % (VOCABULARY_SIZE - 2) + 2 for row in batch]
    np.testing.assert_allclose(ours(model).logits(batch), theirs(model, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_shape_is_known_without_torch(name):
    source = source_of(original(name))
    state = {key: tensor.numpy() for key, tensor in original(name).state_dict().items()}
    tensors = convert(source, state.__getitem__)
    specs = tensor_specs(source.hyperparameters, len(LABELS))
    assert {key: (spec.dtype, spec.shape) for key, spec in specs.items()} == {
        key: ("F32", array.shape) for key, array in tensors.items()
    }


def config_of(hyperparameters, **limits):
    return ModelConfig(
        architecture=Architecture(name="transformer", hyperparameters=hyperparameters),
        labels=LABELS,
        tokenizer=TokenizerFile(backend="huggingface"),
        input_limits=InputLimits(**limits),
    )


def test_weights_are_checked_in_a_process_without_torch_and_transformers():
    source = source_of(original("bert"))
    program = f"""
import sys
from dragoman_models.architecture import check_weights
from dragoman_models.package import *
import numpy as np
from dragoman_models.tensors import write_tensors
from dragoman_models.transformer_shape import TransformerHyperparameters, tensor_specs
values = {source.hyperparameters.to_mapping()!r}
specs = tensor_specs(TransformerHyperparameters.parse(values), 3)
weights = write_tensors({{name: np.zeros(spec.shape, np.float32) for name, spec in specs.items()}})
config = ModelConfig(architecture=Architecture(name="transformer", hyperparameters=values), labels=("a", "b", "c"),
                     tokenizer=TokenizerFile(backend="huggingface"))
check_weights(config, weights, weights_bytes=len(weights))
assert not {{"torch", "transformers"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_serving_imports_torch_and_no_transformers():
    program = (
        "import sys; from dragoman_models import transformer; "
        "assert 'torch' in sys.modules; assert 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_row_beyond_the_positions_is_refused():
    classifier = ours(original("bert", max_position_embeddings=8))
    fits, too_long = np.ones(8, dtype=np.int32), np.ones(9, dtype=np.int32)
    assert classifier.score([fits]).shape == (1, 3)
    with pytest.raises(InvalidArgumentError, match="row 1: has 9 tokens, the model reads 8"):
        classifier.score([fits, too_long])


def test_a_package_that_cuts_texts_after_the_last_position_is_refused():
    values = source_of(original("bert", max_position_embeddings=8)).hyperparameters.to_mapping()
    specs = tensor_specs(TransformerHyperparameters.parse(values), 3)
    weights = write_tensors({name: np.zeros(spec.shape, dtype=np.float32) for name, spec in specs.items()})
    architecture.check_weights(config_of(values, max_tokens=8), weights, weights_bytes=len(weights))
    for call in (architecture.load_classifier, lambda c, w: architecture.check_weights(c, w, weights_bytes=len(w))):
        with pytest.raises(InvalidArgumentError, match="max_tokens is 9; the transformer has 8 positions"):
            call(config_of(values, max_tokens=9), weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "hidden_size 16 must be a multiple of num_heads 3"),
        ({"embedding_size": 8}, "embedding_size must be hidden_size unless projects_embeddings"),
        ({"relative_buckets": 6}, "relative_buckets must be a multiple of 4"),
        ({"activation": "swish"}, "activation is 'swish'; allowed: gelu, gelu_tanh, relu"),
        ({"head_activation": "swish"}, "head_activation is 'swish'"),
        ({"num_layers": 65}, "num_layers must be an integer from 1 to 64"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be a number"),
        ({"auto_map": "x"}, "unknown key 'auto_map'"),
    ],
)
def test_hyperparameters_out_of_place_are_refused(changes, message):
    values = source_of(original("bert")).hyperparameters.to_mapping()
    with pytest.raises(InvalidArgumentError, match=message):
        TransformerHyperparameters.parse(values | changes)


def test_a_hyperparameter_that_is_missing_is_refused():
    values = source_of(original("bert")).hyperparameters.to_mapping()
    for key in values:
        rest = {other: value for other, value in values.items() if other != key}
        with pytest.raises(InvalidArgumentError, match=f"the key '{key}' is missing"):
            TransformerHyperparameters.parse(rest)


def test_weights_that_do_not_fit_are_refused():
    model = original("bert")
    source = source_of(model)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    tensors = convert(source, state.__getitem__)
    values = source.hyperparameters.to_mapping()
    for broken, message in (
        ({k: v for k, v in tensors.items() if k != "layers.1.key.bias"}, "tensor layers.1.key.bias is missing"),
        (tensors | {"layers.2.key.bias": tensors["layers.1.key.bias"]}, "unexpected tensor layers.2.key.bias"),
        (tensors | {"head.output.bias": np.zeros(4, dtype=np.float32)}, r"head.output.bias is F32 \[4\]"),
        (tensors | {"head.output.bias": np.full(3, np.nan, dtype=np.float32)}, "NaN or infinite"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            transformer.load(values, 3, write_tensors(broken))
    half = save({name: array.astype(np.float16) for name, array in tensors.items()})
    with pytest.raises(InvalidArgumentError, match="dtype is 'F16'; allowed: F32, I64"):
        transformer.load(values, 3, half)


def test_temperature_divides_the_logits():
    model = original("bert")
    source = source_of(model)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weights = write_tensors(convert(source, state.__getitem__))
    cooler = dataclasses.replace(source.hyperparameters, temperature=2.0).to_mapping()
    batch = mixed_batch(3)
    np.testing.assert_allclose(
        transformer.load(cooler, 3, weights).logits(batch) * 2, ours(model).logits(batch), atol=1e-5
    )


def test_relative_buckets_equal_mpnet_s():
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    positions = torch.arange(512)
    expected = MPNetEncoder.relative_position_bucket(positions[None, :] - positions[:, None], num_buckets=32)
    assert torch.equal(transformer.relative_buckets(512, 32), expected)


def encoder(name, seed=0):
    """A random bare encoder of the transformers library."""
    family = next(family for family in FAMILIES if family.model_type == name)
    torch.manual_seed(seed)
    return getattr(transformers, family.encoder)._from_config(original(name).config, attn_implementation="eager").eval()


def embedder_of(model, pooling, *, normalises):
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__]}
    source = parse_source(json.dumps(config, default=str).encode(), pooling=pooling, normalises=normalises)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    weights = write_tensors(convert(source, state.__getitem__))
    config = dataclasses.replace(config_of(source.hyperparameters.to_mapping()), task="embedding", labels=())
    architecture.check_weights(config, weights, weights_bytes=len(weights))
    return config, weights, architecture.load_embedder(config, weights)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize(("pooling", "normalises"), [("mean", True), ("first", False)])
def test_vectors_equal_those_pooled_from_the_transformers_library(name, pooling, normalises):
    model = encoder(name)
    batch = mixed_batch(4)
    _, _, embedder = embedder_of(model, pooling, normalises=normalises)
    expected = []
    with torch.inference_mode():
        for row in batch:
            states = model(input_ids=torch.from_numpy(row)[None].long()).last_hidden_state[0]
            vector = states.mean(dim=0) if pooling == "mean" else states[0]
            expected.append(torch.nn.functional.normalize(vector, dim=0) if normalises else vector)
    vectors = embedder.embed(batch)
    assert (vectors.dtype, vectors.shape, embedder.embedding_size) == (np.float32, (len(batch), 16), 16)
    np.testing.assert_allclose(vectors, torch.stack(expected).numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.concatenate([embedder.embed([row]) for row in batch]), vectors, atol=1e-5, rtol=0)


def test_a_task_that_does_not_fit_the_head_is_refused():
    config, weights, _ = embedder_of(encoder("bert"), "mean", normalises=True)
    with pytest.raises(InvalidArgumentError, match=r"task is embedding; .* for text-classification"):
        architecture.load_classifier(config, weights)
    classifier = dataclasses.replace(config, task="text-classification", labels=LABELS)
    for call in (architecture.load_classifier, lambda c, w: architecture.check_weights(c, w, weights_bytes=len(w))):
        with pytest.raises(InvalidArgumentError, match=r"task is text-classification; .* for embedding"):
            call(classifier, weights)
    with pytest.raises(InvalidArgumentError, match=r"task is embedding; the linear"):
        architecture.check_weights(
            dataclasses.replace(config, architecture=Architecture(name="linear", hyperparameters={})),
            weights,
            weights_bytes=len(weights),
        )


def test_an_embedding_has_no_labels_and_a_classification_needs_them():
    config, _, _ = embedder_of(encoder("bert"), "mean", normalises=True)
    assert parse_model_config(to_json(config)) == config
    with pytest.raises(InvalidArgumentError, match="labels: must be empty, an embedding has none"):
        to_json(dataclasses.replace(config, labels=LABELS))
    with pytest.raises(InvalidArgumentError, match="at least two labels"):
        to_json(dataclasses.replace(config, task="text-classification"))
