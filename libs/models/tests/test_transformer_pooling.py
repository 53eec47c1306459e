# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import json

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.transformer_pooling import (
    Modules,
    check_prompts,
    parse_modules,
    parse_pooling,
    parse_sentence_limit,
)

WHAT = "1_Pooling/config.json"


def modules(*types, folder="1_Pooling"):
    paths = ["", folder, "2_Normalize", "3_Dense"]
    return json.dumps(
        [{"idx": i, "name": str(i), "path": paths[i], "type": kind} for i, kind in enumerate(types)]
    ).encode()


TRANSFORMER, POOLING, NORMALIZE, DENSE = (
    f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize", "Dense")
)


def test_the_known_modules_are_read():
    assert parse_modules(modules(TRANSFORMER, POOLING)) == Modules(pooling_folder="1_Pooling", normalises=False)
    assert parse_modules(modules(TRANSFORMER, POOLING, NORMALIZE)).normalises


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (modules(TRANSFORMER), "only Transformer, Pooling and Normalize"),
        (modules(TRANSFORMER, POOLING, DENSE), "the modules are Transformer, Pooling, Dense"),
        (modules(POOLING, TRANSFORMER), "the modules are Pooling, Transformer"),
        (modules("custom_st.Transformer", POOLING), "'custom_st.Transformer' asks for code from elsewhere"),
        (modules(TRANSFORMER, POOLING, folder="../up"), "is no name of a folder"),
        (modules(TRANSFORMER, POOLING, folder="a/b"), "is no name of a folder"),
        (b"{}", "must list the modules"),
        (b'[], "more": 1', "unknown keys: 'more'"),
        (b"[", "not strict JSON"),
    ],
)
def test_other_modules_are_refused(data, message):
    with pytest.raises(InvalidArgumentError, match=message):
        parse_modules(data)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "word_embedding_dimension": 8}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode": "mean", "embedding_dimension": 8, "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls"}, "first"),
    ],
)
def test_mean_and_first_token_are_read(value, expected):
    assert parse_pooling(json.dumps(value).encode(), what=WHAT) == expected


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_lasttoken": True},
        {"pooling_mode": "max"},
        {"pooling_mode": ["mean", "max"]},
        {"pooling_mode_mean_tokens": "yes"},
        {"pooling_mode_mean_tokens": True, "dropout": 0.5},
    ],
)
def test_another_pooling_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="1_Pooling"):
        parse_pooling(json.dumps(value).encode(), what=WHAT)


def test_where_texts_are_cut():
    assert parse_sentence_limit(b'{"max_seq_length": 256, "do_lower_case": false}') == 256
    assert parse_sentence_limit(b'{"max_seq_length": null}') is None
    for bad in (b'{"do_lower_case": true}', b'{"max_seq_length": 0}', b'{"model_args": {}}'):
        with pytest.raises(InvalidArgumentError):
            parse_sentence_limit(bad)


def test_a_default_prompt_is_refused():
    check_prompts(b'{"__version__": {}, "prompts": {"query": "q: "}, "default_prompt_name": null}')
    with pytest.raises(InvalidArgumentError, match="default_prompt_name puts words before each text"):
        check_prompts(b'{"prompts": {"query": "q: "}, "default_prompt_name": "query"}')
