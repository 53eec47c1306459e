# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import json
import sys

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import package
from dragoman_models.architecture import ARCHITECTURES, check_weights, load_classifier
from dragoman_models.package import Architecture, ModelConfig, TokenizerFile, parse_model_config, to_json
from dragoman_models.tensors import MAX_START_BYTES, TensorSpec, write_tensors


def _content(**changes):
    content = {
        "format": "dragoman.model/1",
        "task": "text-classification",
        "architecture": {"name": "linear", "hyperparameters": {"ngram_max": 2, "sublinear_tf": True}},
        "labels": ["acq", "earn"],
        "tokenizer": {"backend": "basic_english", "file": "tokenizer.json"},
        "input_limits": {"max_text_bytes": 65536, "max_tokens": 128},
        "numerics": "fp32",
    }
    return content | changes


def _parse(**changes):
    return parse_model_config(json.dumps(_content(**changes)).encode())


def test_the_documented_example_parses():
    config = _parse()
    assert config.labels == ("acq", "earn")
    assert config.architecture == Architecture(name="linear", hyperparameters={"ngram_max": 2, "sublinear_tf": True})
    assert config.input_limits.max_tokens == 128


def test_writing_and_reading_give_the_same_config():
    config = ModelConfig(
        architecture=Architecture(name="rnn", hyperparameters={"b": 1, "a": 0.5, "c": "x", "d": False}),
        labels=("zurück", "日本", "a b"),
        tokenizer=TokenizerFile(backend="huggingface"),
    )
    assert parse_model_config(to_json(config)) == config


def test_equal_configs_give_equal_bytes():
    first = Architecture(name="rnn", hyperparameters={"a": 1, "b": 2})
    second = Architecture(name="rnn", hyperparameters={"b": 2, "a": 1})
    common = {"labels": ("x", "y"), "tokenizer": TokenizerFile(backend="basic_english")}
    assert to_json(ModelConfig(architecture=first, **common)) == to_json(ModelConfig(architecture=second, **common))


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "chat_template", "__class__", "Format"])
def test_unknown_keys_are_refused_by_name_and_import_nothing(key):
    before = set(sys.modules)
    with pytest.raises(InvalidArgumentError, match=f"unknown key '{key}'; allowed: architecture, format"):
        _parse(**{key: {"AutoModel": "evil.py"}})
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "dragoman.model/2"}, "format is 'dragoman.model/2'; allowed: dragoman.model/1"),
        ({"task": "generation"}, "task is 'generation'"),
        ({"numerics": "int4"}, "numerics is 'int4'; allowed: fp32"),
        ({"labels": ["one"]}, "at least two labels"),
        ({"labels": []}, "at least two labels"),
        ({"labels": ["a", "a"]}, "'a' is listed twice"),
        ({"labels": ["a", ""]}, "without control characters"),
        ({"labels": ["a", 1]}, "without control characters"),
        ({"labels": ["a", "b\nc"]}, "without control characters"),
        ({"labels": ["a", "x" * 129]}, "1 to 128 characters"),
        ({"labels": [str(number) for number in range(5000)]}, "at most 4096"),
        ({"labels": "ab"}, "labels must be a list"),
        ({"architecture": {"name": "../linear", "hyperparameters": {}}}, "must have 1 to 63"),
        ({"architecture": {"name": "a..b", "hyperparameters": {}}}, "must have 1 to 63"),
        ({"architecture": {"name": "linear"}}, "the key 'hyperparameters' is missing"),
        (
            {"architecture": {"name": "linear", "hyperparameters": {"a": [1]}}},
            "'a' must be a string, number or boolean",
        ),
        ({"architecture": {"name": "linear", "hyperparameters": {"a": None}}}, "'a' must be a string"),
        ({"architecture": []}, "architecture: must be an object"),
        ({"tokenizer": {"backend": "pickle", "file": "tokenizer.json"}}, "backend is 'pickle'"),
        ({"tokenizer": {"backend": "basic_english", "file": "../../etc/passwd"}}, "file is '../../etc/passwd'"),
        ({"input_limits": {"max_text_bytes": 1, "max_tokens": 0}}, "max_tokens must be an integer from 1"),
        ({"input_limits": {"max_text_bytes": 1 << 40, "max_tokens": 1}}, "max_text_bytes must be an integer"),
        ({"input_limits": {"max_text_bytes": 1, "max_tokens": True}}, "max_tokens must be an integer"),
        ({"input_limits": {"max_text_bytes": 1.5, "max_tokens": 1}}, "max_text_bytes must be an integer"),
    ],
)
def test_values_outside_the_format_are_refused_by_name(changes, message):
    with pytest.raises(InvalidArgumentError) as caught:
        _parse(**changes)
    assert message in caught.value.message
    assert caught.value.message.startswith("model.json")


@pytest.mark.parametrize("key", sorted(_content()))
def test_every_key_is_required(key):
    content = _content()
    del content[key]
    with pytest.raises(InvalidArgumentError, match=f"the key '{key}' is missing"):
        parse_model_config(json.dumps(content).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe{}",
        b'{"format": "dragoman.model/1", "format": "dragoman.model/1"}',
        b'{"format": NaN}',
        b'{"format": Infinity}',
        b"[" * 100_000,
        b"9" * 10_000,
        b" " * (package.MAX_MODEL_JSON_BYTES + 1),
    ],
    ids=["empty", "list", "null", "cut", "utf16", "twice", "nan", "inf", "deep", "digits", "large"],
)
def test_bytes_that_are_not_strict_json_are_refused(data):
    with pytest.raises(InvalidArgumentError, match=r"model\.json"):
        parse_model_config(data)


def test_an_infinite_hyperparameter_is_refused_by_the_architecture():
    text = json.dumps(_content()).replace('"ngram_max": 2', '"temperature": 1e999')
    config = parse_model_config(text.encode())
    with pytest.raises(InvalidArgumentError):
        load_classifier(config, b"")


def test_an_unknown_architecture_lists_the_known_ones():
    config = _parse(architecture={"name": "transformers.automodel", "hyperparameters": {}})
    with pytest.raises(InvalidArgumentError, match="known: linear, rnn"):
        load_classifier(config, b"")
    assert sorted(ARCHITECTURES) == ["linear", "rnn", "transformer"]


def _weights(config, **changes):
    specs = ARCHITECTURES["linear"].tensors(config.architecture.hyperparameters, len(config.labels)) | changes
    arrays = {
        name: np.zeros(spec.shape, np.float32 if spec.dtype == "F32" else np.int64) for name, spec in specs.items()
    }
    return write_tensors(arrays)


def test_weights_are_checked_by_their_start_alone():
    hyperparameters = {
        "vocabulary_size": 9,
        "ngram_max": 2,
        "num_features": 5,
        "sublinear_tf": True,
        "temperature": 1.0,
    }
    config = _parse(architecture={"name": "linear", "hyperparameters": hyperparameters})
    data = _weights(config)
    check_weights(config, data[:MAX_START_BYTES], weights_bytes=len(data))
    for broken, size, message in [
        (data[:100], 100, "header of"),
        (data, len(data) - 1, "tensors cover"),
        (_weights(config, intercept=TensorSpec("F32", (7,))), None, "intercept is F32"),
        (_weights(config, extra=TensorSpec("F32", (1,))), None, "unexpected tensor extra"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            check_weights(config, broken, weights_bytes=size or len(broken))


def test_weights_of_an_unknown_architecture_are_refused():
    config = _parse(architecture={"name": "linera", "hyperparameters": {}})
    with pytest.raises(InvalidArgumentError, match="'linera' is unknown; known: linear, rnn"):
        check_weights(config, b"", weights_bytes=0)
