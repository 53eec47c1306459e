# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError, NotFoundError
from dragoman_trainer.embedding import load_vectors
from dragoman_trainer.recipe import parse_recipe
from dragoman_trainer.rnn_fit import build_network

TOKENS = ("<pad>", "<unk>", "apple", "nowhere", "pear", "<unk2>")


def _write(tmp_path, text):
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("dimension", [1, 3, 50, 300])
def test_rows_of_found_words_equal_the_file_for_any_dimension(tmp_path, dimension):
    generator = np.random.default_rng(0)
    vectors = {word: generator.normal(size=dimension).astype(np.float32) for word in ("the", "pear", "apple")}
    path = _write(tmp_path, "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in vectors.items()))
    matrix = load_vectors(path, TOKENS, num_specials=2, seed=1)
    assert matrix.rows.shape == (6, dimension)
    assert matrix.num_found == 2
    np.testing.assert_array_equal(matrix.rows[2], vectors["apple"])
    np.testing.assert_array_equal(matrix.rows[4], vectors["pear"])


def test_padding_is_zero_and_missing_words_have_the_scale_of_the_found(tmp_path):
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(2000)]
    path = _write(tmp_path, "".join(f"{word} {' '.join(map(str, generator.normal(0, 0.4, 8)))}\n" for word in words))
    missing = [f"m{number}" for number in range(2000)]
    matrix = load_vectors(path, ("<pad>", "<unk>", *words, *missing), num_specials=2, seed=1)
    assert not matrix.rows[0].any()
    assert matrix.rows[2002:].std() == pytest.approx(matrix.rows[2:2002].std(), rel=0.03)
    assert len(np.unique(matrix.rows[2002:], axis=0)) == 2000


def test_a_special_token_is_never_looked_up(tmp_path):
    matrix = load_vectors(_write(tmp_path, "<unk> 9 9\napple 1 2\n"), TOKENS, num_specials=2, seed=1)
    assert matrix.num_found == 1
    assert matrix.rows[1].tolist() != [9.0, 9.0]


def test_the_network_starts_with_the_vectors(toy, rnn_recipe):
    recipe = parse_recipe(rnn_recipe, file="r")
    tokens = ("<pad>", "<unk>", "apple", "iron")
    network, num_found = build_network(recipe.rnn, tokens, num_specials=2, num_labels=3, data_dir=toy, seed=1)
    line = (toy / "toy-vectors" / "vectors.txt").read_text(encoding="utf-8").splitlines()[0]
    expected = np.array(line.split()[1:], dtype=np.float32)
    np.testing.assert_array_equal(network.embedding.weight[2].detach().numpy(), expected)
    assert network.embedding.weight.requires_grad
    assert num_found == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apple 1 2\npear 1 2 3\n", "line 2 has 3 numbers, line 1 has 2"),
        ("apple 1 x\n", "line 1 must be a word and numbers"),
        ("apple 1 nan\n", "finite numbers"),
        ("apple\n", "line 1 must be a word and finite numbers"),
        ("zebra 1 2\n", "holds no word of the vocabulary"),
        ("", "holds no word of the vocabulary"),
    ],
)
def test_damaged_vectors_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(InvalidArgumentError) as caught:
        load_vectors(_write(tmp_path, text), TOKENS, num_specials=2, seed=1)
    assert message in caught.value.message


def test_missing_vectors_say_how_to_get_them(tmp_path):
    with pytest.raises(NotFoundError, match="dragoman data get"):
        load_vectors(tmp_path / "vectors.txt", TOKENS, num_specials=2, seed=1)
