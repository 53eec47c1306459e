# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A bad recipe is refused with the key and the line, before anything is started."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError
from dragoman_launcher.recipe_check import RecipeError, check_recipe, check_request

GOOD = "data:\n  name: r8\ntraining:\n  epochs: 3\n"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "r8").mkdir()
    (folder / "glove-50").mkdir()
    return folder


def checked(data_dir, recipe, overrides=None):
    return check_recipe(recipe, overrides or {}, max_recipe_bytes=65536, data_dir=data_dir)


def test_without_overrides_the_trainer_gets_the_submitted_text(data_dir):
    recipe = checked(data_dir, "# mine\n" + GOOD)

    assert recipe.effective == "# mine\n" + GOOD
    assert recipe.stored == ()


def test_data_sets_of_the_store_are_pinned_by_what_their_names_mean_now(data_dir):
    recipe = checked(data_dir, "data: {name: 'store:news'}\nrnn: {vectors: 'store:glove@%s'}\n" % ("a" * 64))
    assert [(found.name, found.sha256) for found in recipe.stored] == [("news", ""), ("glove", "a" * 64)]

    text = recipe.pinned({found: found.sha256 or "b" * 64 for found in recipe.stored})

    assert yaml.safe_load(text) == {
        "data": {"name": "store:news@" + "b" * 64},
        "rnn": {"vectors": "store:glove@" + "a" * 64},
    }
    pinned = checked(data_dir, text)
    assert pinned.pinned({}) == text


@pytest.mark.parametrize(
    "name", ["store:", "store:a/b", "store:..", "store:r8@", "store:r8@abc", "store:R8", "store: r8"]
)
def test_a_name_of_the_store_that_is_none_is_refused(data_dir, name):
    with pytest.raises(RecipeError, match=r"data\.name must be store:NAME"):
        checked(data_dir, f"data: {{name: '{name}'}}\n")


def test_overrides_replace_values_by_dotted_key_with_their_yaml_type(data_dir):
    overrides = {"training.epochs": "4", "training.learning_rate": "0.006", "seed": "7", "rnn.bidirectional": "true"}

    recipe = checked(data_dir, GOOD, overrides)

    assert yaml.safe_load(recipe.effective) == {
        "data": {"name": "r8"},
        "training": {"epochs": 4, "learning_rate": 0.006},
        "seed": 7,
        "rnn": {"bidirectional": True},
    }


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("data: {name: r8\n", "recipe, line 2"),
        ("data:\n  name: r8\n  name: r52\n", "line 3, column 3: the key 'name' appears twice"),
        ("a: &x [1]\nb: *x\n", "line 1, column 4: anchors and aliases"),
        ("a: !!python/object:os.system x\n", "line 1, column 4: tags"),
        ("a: !thing x\n", "tags"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("1: x\n", "a key must be a plain text"),
        ("? [a]\n: x\n", "a key must be a plain text"),
        ("[" * 5000, "nested deeper than 16 levels"),
        ("a: \x00\n", "recipe"),
        ("a: 2026-02-31\n", "does not parse"),
        ("", "must be a mapping"),
        ("- data\n", "must be a mapping"),
        ("training: {}\n", "data.name is missing"),
        ("data: r8\n", "data.name is missing"),
        ("data: {name: 8}\n", "data.name must be a text"),
        ("data: {name: ../etc}\n", "data.name must have 1 to 63"),
        ("data: {name: a..b}\n", "data.name must have 1 to 63"),
        ("data: {name: /etc}\n", "data.name must have 1 to 63"),
        ("data: {name: r52}\n", "data.name: 'r52' is not in the data folder"),
        ("data: {name: r8}\nrnn: {vectors: glove-300}\n", "rnn.vectors: 'glove-300' is not in the data folder"),
        ("x: " + "y" * 70_000, "recipe has 70003 bytes; at most 65536"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_place(data_dir, recipe, said):
    with pytest.raises(RecipeError) as refusal:
        checked(data_dir, recipe)

    assert said in refusal.value.message


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"": "1"}, "not a dotted key"),
        ({"a..b": "1"}, "not a dotted key"),
        ({".".join("abcdefghi"): "1"}, "at most 8 parts"),
        ({"a b": "1"}, "not a dotted key"),
        ({"training": "1"}, "overrides.training: the recipe has a mapping there"),
        ({"training.epochs.more": "1"}, "overrides.training.epochs.more: training.epochs is a value"),
        ({"training.epochs": "[1]"}, "overrides.training.epochs must be one value"),
        ({"training.epochs": "{a: 1}"}, "overrides.training.epochs must be one value"),
        ({"training.epochs": "!x 1"}, "overrides.training.epochs, line 1, column 1: tags"),
        ({"training.epochs": "y" * 5000}, "overrides.training.epochs has more than 4096 bytes"),
        ({f"k{n}": "1" for n in range(101)}, "overrides has 101 entries; at most 100"),
        ({"data.name": "r52"}, "data.name: 'r52' is not in the data folder"),
    ],
)
def test_a_bad_override_is_refused_by_its_key(data_dir, overrides, said):
    with pytest.raises(RecipeError) as refusal:
        checked(data_dir, GOOD, overrides)

    assert said in refusal.value.message


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_either_a_recipe_or_refused(data_dir, text):
    with suppress(RecipeError):
        checked(data_dir, text)


@given(st.text(alphabet="ab:-{}[]&*!'\"#|>%@`,?\n \t", max_size=60))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_any_yaml_punctuation_is_either_a_recipe_or_refused(data_dir, text):
    with suppress(RecipeError):
        checked(data_dir, text)


@pytest.mark.parametrize(
    ("request_id", "model", "named"),
    [
        ("", "r8", "request_id"),
        ("x" * 129, "r8", "request_id"),
        ("a b", "r8", "request_id"),
        ("a\n", "r8", "request_id"),
        ("ä", "r8", "request_id"),
        ("r1", "", "model"),
        ("r1", "R8", "model"),
        ("r1", "../r8", "model"),
        ("r1", "a..b", "model"),
        ("r1", "-rf", "model"),
        ("r1", "a\n", "model"),
        ("r1", "x" * 64, "model"),
    ],
)
def test_a_bad_name_is_refused_by_its_field(request_id, model, named):
    with pytest.raises(InvalidArgumentError, match=named):
        check_request(request_id, model)
