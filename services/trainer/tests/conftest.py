# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic data sets: no text of a real one is in this repository."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape"],
    "metal": ["iron", "zinc", "copper", "tin", "lead"],
    "river": ["rhine", "danube", "elbe", "oder", "main"],
}
FILLER = ["the", "of", "and", "in", "it", "was", "for", "on"]


def sentence(generator: np.random.Generator, label: str, length: int) -> str:
    """Mostly filler, at least one word of the label's topic."""
    words = generator.choice(FILLER, length)
    places = generator.choice(length, max(1, length // 4), replace=False)
    words = [str(word) for word in words]
    for place in places:
        words[place] = str(generator.choice(TOPICS[label]))
    return " ".join(words)


def rows(num_rows: int, seed: int) -> list[tuple[str, str]]:
    generator = np.random.default_rng(seed)
    labels = list(TOPICS)
    return [
        (labels[number % 3], sentence(generator, labels[number % 3], int(generator.integers(3, 25))))
        for number in range(num_rows)
    ]


@pytest.fixture
def write_tab(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set in the .tab layout and return the data folder."""

    def write(name: str = "toy", **parts: list[tuple[str, str]]) -> Path:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for part, content in parts.items():
            lines = ["category\ttext", *(f"{label}\t{text}" for label, text in content)]
            (folder / f"{part}.tab").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / "data"

    return write


@pytest.fixture
def toy(write_tab: Callable[..., Path]) -> Path:
    """A data folder with the data set ``toy`` and the word vectors ``toy-vectors`` (4 dimensions, fruit words only)."""
    data_dir = write_tab(train=rows(240, 0), test=rows(90, 1))
    vectors = data_dir / "toy-vectors"
    vectors.mkdir()
    generator = np.random.default_rng(5)
    lines = [
        f"{word} " + " ".join(f"{number:.5f}" for number in generator.normal(size=4))
        for word in TOPICS["fruit"] + ["zebra"]
    ]
    (vectors / "vectors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data_dir


RNN_RECIPE = """\
format: dragoman.recipe/1
name: toy-rnn
seed: 13
data: {name: toy, dev_fraction: 0.2, dev_seed: 0}
tokenizer: {backend: basic_english, max_vocabulary: 1000, min_frequency: 1, max_tokens: 64}
rnn:
  cell: lstm
  hidden_size: 8
  num_layers: 1
  bidirectional: true
  pooling: max_mean
  embedding_dropout: 0.0
  dropout: 0.1
  vectors: toy-vectors
training:
  epochs: 6
  batch_size: 16
  optimizer: adamw
  learning_rate: 0.03
  schedule: one_cycle
  weight_decay: 0.01
  clip_norm: 1.0
  label_smoothing: 0.05
"""

LINEAR_RECIPE = """\
format: dragoman.recipe/1
name: toy-linear
seed: 13
data: {name: toy, dev_fraction: 0.2, dev_seed: 0}
tokenizer: {backend: basic_english, max_vocabulary: 0, min_frequency: 1, max_tokens: 64}
linear:
  ngram_max: 2
  min_document_frequency: 1
  sublinear_tf: true
  solver: linear_svc
  c: 1.0
  refit_with_dev: true
"""


@pytest.fixture
def rnn_recipe() -> str:
    return RNN_RECIPE


@pytest.fixture
def linear_recipe() -> str:
    return LINEAR_RECIPE
