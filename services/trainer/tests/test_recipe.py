# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_trainer.recipe import MAX_RECIPE_BYTES, parse_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def _parse(text, **overrides):
    return parse_recipe(
        text, file="my.yaml", overrides={key.replace("__", "."): value for key, value in overrides.items()}
    )


def test_an_rnn_recipe_parses(rnn_recipe):
    recipe = _parse(rnn_recipe)
    assert recipe.rnn.vectors == "toy-vectors"
    assert recipe.training.learning_rate == 0.03
    assert recipe.threads == 1
    assert recipe.linear is None
    assert not recipe.shuffle_training_labels


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shipped_recipes_parse_under_their_own_name(path):
    assert parse_recipe(path.read_text(encoding="utf-8"), file=path.name).name == path.stem


def test_the_seed_recipe_keeps_the_seeds_settings():
    (path,) = (path for path in RECIPES if path.stem == "bilstm-seed")
    recipe = parse_recipe(path.read_text(encoding="utf-8"), file=path.name)
    assert recipe.tokenizer.max_vocabulary == 25_000
    assert (recipe.rnn.cell, recipe.rnn.hidden_size, recipe.rnn.num_layers) == ("lstm", 256, 2)
    assert recipe.rnn.bidirectional
    assert recipe.rnn.dropout == 0.5
    assert recipe.rnn.vectors == "glove-50d"
    assert (recipe.training.optimizer, recipe.training.batch_size, recipe.training.epochs) == ("adam", 64, 3)


def test_an_unknown_key_is_named_with_its_neighbours_and_the_file(rnn_recipe):
    with pytest.raises(InvalidArgumentError) as caught:
        _parse(rnn_recipe.replace("learning_rate", "learnig_rate"))
    assert caught.value.message == (
        "my.yaml: training: unknown key 'learnig_rate'; allowed: batch_size, class_weights, clip_norm, epochs, "
        "label_smoothing, learning_rate, optimizer, schedule, weight_decay"
    )


def test_a_missing_key_is_named_with_the_file(rnn_recipe):
    with pytest.raises(InvalidArgumentError, match=r"my\.yaml: training: the key 'epochs' is missing"):
        _parse(rnn_recipe.replace("  epochs: 6\n", ""))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.epochs", "0", "epochs must be an integer from 1 to 1000"),
        ("training.epochs", "three", "epochs must be an integer"),
        ("training.learning_rate", "-0.1", "learning_rate must be a number from 1e-06 to 1"),
        ("training.learning_rate", ".nan", "learning_rate must be a number"),
        ("training.optimizer", "sgd", "optimizer is 'sgd'; allowed: adam, adamw"),
        ("rnn.dropout", "1.0", "dropout must be a number from 0 to 0.95"),
        ("rnn.bidirectional", "1", "bidirectional must be true or false"),
        ("rnn.vectors", "../../etc", "vectors '../../etc' must be lower-case letters"),
        ("rnn.embedding_size", "50", "give either vectors"),
        ("data.name", "/etc/passwd", "name '/etc/passwd' must be lower-case letters"),
        ("data.dev_fraction", "0.9", "dev_fraction must be a number from 0.01 to 0.5"),
        ("tokenizer.backend", "spacy", "backend is 'spacy'; allowed: basic_english"),
        ("tokenizer.max_tokens", "100000000", "max_tokens must be an integer from 1"),
        ("seed", "-1", "seed must be an integer from 0"),
        ("format", "dragoman.recipe/2", "format is 'dragoman.recipe/2'"),
        ("linear.c", "1.0", "give exactly one of the sections linear and rnn"),
        ("self_test.shuffle_training_labels", "maybe", "shuffle_training_labels must be true or false"),
        ("seed.deep", "1", "override seed.deep: must set a plain value"),
        ("seed", "[1]", "override seed: must set a plain value"),
    ],
)
def test_values_out_of_range_are_named_with_what_is_allowed(rnn_recipe, key, value, message):
    with pytest.raises(InvalidArgumentError) as caught:
        parse_recipe(rnn_recipe, file="my.yaml", overrides={key: value})
    assert message in caught.value.message
    assert caught.value.message.startswith("my.yaml")


def test_overrides_replace_values_by_dotted_key(rnn_recipe):
    recipe = _parse(rnn_recipe, training__epochs="7", seed="17", self_test__shuffle_training_labels="true")
    assert (recipe.training.epochs, recipe.seed, recipe.shuffle_training_labels) == (7, 17, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format: a\nformat: b\n", "line 2: the key 'format' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases are not allowed"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1: could not determine a constructor"),
        ("a: [1\n", "line 2"),
        ("- a\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("1: 2\n", "must be a mapping"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("x" * (MAX_RECIPE_BYTES + 1), "over the limit"),
    ],
    ids=["twice", "alias", "tag", "cut", "list", "empty", "number-key", "two", "large"],
)
def test_text_that_is_not_plain_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(InvalidArgumentError) as caught:
        _parse(text)
    assert message in caught.value.message


def test_a_training_section_without_rnn_is_refused(linear_recipe, rnn_recipe):
    training = rnn_recipe[rnn_recipe.index("training:") :]
    with pytest.raises(InvalidArgumentError, match="training belongs to rnn"):
        _parse(linear_recipe + training)
