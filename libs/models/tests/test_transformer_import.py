# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import json

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.transformer_families import FAMILIES
from dragoman_models.transformer_import import convert, foreign_specs, is_unused, modern_name, parse_source

# A config.json as version 4 of the library wrote it, with everything in it that says nothing about scores.
BERT = {
    "_name_or_path": "bert-base-uncased",
    "architectures": ["BertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 16,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "label2id": {"a": 0, "b": 1, "c": 2},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 20,
    "model_type": "bert",
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "problem_type": "single_label_classification",
    "torch_dtype": "float32",
    "transformers_version": "4.40.0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 60,
}


def parse(**changes):
    return parse_source(json.dumps(BERT | changes).encode())


def test_labels_are_in_the_order_of_their_numbers():
    names = {str(i): f"label {i}" for i in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    assert parse(id2label=names, label2id=None).labels == tuple(f"label {i}" for i in range(11))


def test_without_labels_there_are_two():
    config = {key: value for key, value in BERT.items() if key not in ("id2label", "label2id")}
    assert parse_source(json.dumps(config).encode()).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "auto_map asks for the model's own code"),
        ({"trust_remote_code": True}, "trust_remote_code asks for"),
        ({"custom_pipelines": {}}, "custom_pipelines asks for"),
        ({"sentence_transformers": {"a": [{"auto_map": {}}]}}, "auto_map asks for"),
        ({"quantization_config": {"bits": 8}}, "quantization_config: quantised weights"),
        ({"architectures": ["GPT2LMHeadModel"]}, "cannot be computed here; known: BertForSequenceClassification"),
        ({"architectures": ["DebertaV2ForSequenceClassification"], "model_type": "deberta-v2"}, "cannot be computed"),
        ({"architectures": ["RobertaForSequenceClassification"]}, "with model_type 'bert' cannot be computed"),
        ({"architectures": ["BertForTokenClassification"]}, "cannot be computed"),
        ({"architectures": []}, "cannot be computed"),
        ({"architectures": "BertForSequenceClassification"}, "cannot be computed"),
        ({"architectures": ["BertForSequenceClassification", "BertModel"]}, "cannot be computed"),
        ({"architectures": ["BertModel"]}, "BertModel is an encoder without a classification head"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"problem_type": "regression"}, "problem_type is 'regression'"),
        ({"id2label": {"0": "score"}, "label2id": None}, "as for a regression"),
        ({"id2label": {"0": "a", "2": "c"}}, "without gaps"),
        ({"id2label": {"1": "a", "2": "c"}}, "without gaps"),
        ({"id2label": {"0": "a", "01": "c"}}, "without gaps"),
        ({"id2label": {"0": "a", "one": "c"}}, "without gaps"),
        ({"id2label": {"0": "a", "1": "a", "2": "c"}}, "'a' is listed twice"),
        ({"id2label": {"0": "a", "1": "b\n", "2": "c"}}, "without control characters"),
        ({"id2label": ["a", "b"]}, "without gaps"),
        ({"label2id": {"a": 1, "b": 0, "c": 2}}, "label2id and id2label contradict"),
        ({"num_labels": 4}, "num_labels is not the number"),
        ({"is_decoder": True}, "is_decoder is not False"),
        ({"is_decoder": 0}, "is_decoder is not False"),
        ({"add_cross_attention": True}, "add_cross_attention is not False"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is not 'absolute'"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is not"),
        ({"rope_theta": 10000.0}, "unknown key 'rope_theta'"),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ({"hidden_size": 17}, "must be a multiple of num_heads"),
        ({"hidden_size": 1 << 30}, "hidden_size must be an integer"),
        ({"hidden_size": "16"}, "hidden_size must be an integer"),
        ({"layer_norm_eps": -1}, "layer_norm_eps must be a number"),
        ({"type_vocab_size": 0}, "type_vocab_size must be an integer"),
    ],
)
def test_a_config_is_refused(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        parse(**changes)


def test_a_config_without_a_size_is_refused():
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps", "hidden_act")
    for key in sizes:
        config = {other: value for other, value in BERT.items() if other != key}
        with pytest.raises(InvalidArgumentError, match=f"the key '{key}' is missing"):
            parse_source(json.dumps(config).encode())


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
def test_a_config_that_is_no_strict_json_is_refused(data):
    with pytest.raises(InvalidArgumentError, match=r"config\.json"):
        parse_source(data)


def test_positions_that_no_token_takes_are_left_out():
    family = next(family for family in FAMILIES if family.model_type == "roberta")
    source = parse(architectures=[family.classifier], model_type="roberta", pad_token_id=1)
    assert source.hyperparameters.max_positions == 18
    specs = foreign_specs(source)
    assert specs["embeddings.positions"][1].shape == (20, 16)
    assert specs["embeddings.token_type"][1].shape == (2, 16)
    arrays = {
        name: np.arange(np.prod(spec.shape), dtype=np.float32).reshape(spec.shape) for name, spec in specs.values()
    }
    tensors = convert(source, arrays.__getitem__)
    assert tensors["embeddings.positions"][0, 0] == 2 * 16
    assert tensors["embeddings.token_type"].tolist() == list(range(16))
    with pytest.raises(InvalidArgumentError, match="leaves no position"):
        parse(architectures=[family.classifier], model_type="roberta", max_position_embeddings=2, pad_token_id=1)


def test_values_that_are_not_finite_are_refused():
    source = parse()
    arrays = {name: np.zeros(spec.shape, dtype=np.float32) for name, spec in foreign_specs(source).values()}
    arrays["classifier.bias"][1] = np.inf
    with pytest.raises(InvalidArgumentError, match=r"classifier\.bias has NaN or infinite"):
        convert(source, arrays.__getitem__)


def test_old_names_are_read_as_the_present_ones():
    assert modern_name("bert.embeddings.LayerNorm.gamma") == "bert.embeddings.LayerNorm.weight"
    assert modern_name("bert.embeddings.LayerNorm.beta") == "bert.embeddings.LayerNorm.bias"
    assert modern_name("classifier.weight") == "classifier.weight"
    assert is_unused(parse(), "bert.embeddings.position_ids")
    assert not is_unused(parse(), "bert.embeddings.position_embeddings.weight")


def test_a_pooler_is_passed_over_only_where_the_head_does_not_classify_it():
    roberta = parse(architectures=["RobertaForSequenceClassification"], model_type="roberta", pad_token_id=1)
    assert is_unused(roberta, "roberta.pooler.dense.weight")
    assert not is_unused(parse(), "bert.pooler.dense.weight")
    encoder = parse_source(json.dumps(BERT | {"architectures": ["BertModel"]}).encode(), pooling="mean")
    assert is_unused(encoder, "pooler.dense.weight")
    assert not is_unused(encoder, "bert.pooler.dense.weight")
