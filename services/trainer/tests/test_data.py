# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import json
from collections import Counter

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError, NotFoundError
from dragoman_trainer.data import load_corpus, merge, shuffle_labels, stratified_sample


def _load(data_dir, name="toy", dev_fraction=0.2, dev_seed=0):
    return load_corpus(name, data_dir, dev_fraction=dev_fraction, dev_seed=dev_seed)


def test_dev_is_a_stratified_part_of_train_and_test_is_whole(toy):
    corpus = _load(toy)
    assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (192, 48, 90)
    assert np.bincount(corpus.dev.labels).tolist() == [16, 16, 16]
    assert corpus.label_names == ("fruit", "metal", "river")


def test_the_split_depends_on_its_seed_alone(toy):
    first, again, other = _load(toy), _load(toy), _load(toy, dev_seed=1)
    assert first.dev.texts == again.dev.texts
    assert first.dev.digest == again.dev.digest
    assert first.dev.texts != other.dev.texts
    assert first.test.digest == other.test.digest


def test_classes_under_ten_rows_stay_in_train():
    chosen = stratified_sample(["big"] * 100 + ["small"] * 9, fraction=0.5, seed=0)
    assert Counter(chosen[:100].tolist())[True] == 50
    assert not chosen[100:].any()


def test_a_dev_file_is_used_as_it_is(write_tab):
    rows = [("a", f"one {number}") for number in range(20)] + [("b", f"two {number}") for number in range(20)]
    corpus = _load(write_tab(train=rows, dev=[("a", "held out")], test=rows[:2]))
    assert corpus.dev.texts == ("held out",)
    assert len(corpus.train) == 40


def test_hygiene_reports_duplicates_overlap_sizes_and_empty_rows(write_tab):
    train = [("a", f"one {number}") for number in range(10)] + [("b", f"two {number}") for number in range(5)]
    train += [("a", "One, 3!"), ("b", ""), ("", "no label")]
    corpus = _load(write_tab(train=train, test=[("a", "one 7"), ("b", "fresh"), ("a", " ")]))
    hygiene = corpus.hygiene
    assert hygiene.num_rows == {"train": 16, "test": 2}
    assert hygiene.num_empty == {"train": 2, "test": 1}
    assert hygiene.num_duplicates == {"train": 1, "test": 0}
    assert hygiene.num_overlapping == 1
    assert hygiene.class_sizes == {"a": 11, "b": 5}
    assert "test rows whose text is also in train: 1" in hygiene.lines()


def test_the_digest_changes_with_any_text_label_or_order(write_tab):
    base = [("a", f"one {number}") for number in range(10)] + [("b", f"two {number}") for number in range(10)]
    tests = {
        "same": [("a", "x"), ("b", "y")],
        "text": [("a", "x"), ("b", "z")],
        "label": [("b", "x"), ("b", "y")],
        "order": [("b", "y"), ("a", "x")],
    }
    digests = {name: _load(write_tab(name, train=base, test=test), name).test.digest for name, test in tests.items()}
    assert len(set(digests.values())) == 4
    assert all(len(digest) == 64 for digest in digests.values())


def test_shuffling_labels_keeps_texts_and_class_sizes(toy):
    split = _load(toy).train
    shuffled = shuffle_labels(split, 1)
    assert shuffled.texts == split.texts
    assert np.bincount(shuffled.labels).tolist() == np.bincount(split.labels).tolist()
    assert (shuffled.labels != split.labels).mean() > 0.5
    assert shuffled.digest != split.digest


def test_merging_keeps_every_row(toy):
    corpus = _load(toy)
    both = merge(corpus.train, corpus.dev)
    assert both.texts == corpus.train.texts + corpus.dev.texts
    assert len(both.labels) == 240


def test_the_licence_comes_from_the_source_file(toy):
    (toy / "toy" / "source.json").write_text(json.dumps({"licence": "ours"}), encoding="utf-8")
    assert _load(toy).licence == "ours"


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    with pytest.raises(NotFoundError, match="fetch it with 'dragoman data get r8'"):
        _load(tmp_path, "r8")


def test_a_missing_test_file_is_named(write_tab):
    with pytest.raises(NotFoundError, match=r"has no test file \(one of test\.tab, test\.csv, test\.jsonl\)"):
        _load(write_tab(train=[("a", "x"), ("b", "y")]))


def test_an_empty_split_is_named(write_tab):
    with pytest.raises(InvalidArgumentError, match=r"test\.tab has no rows with text and label \(0 without"):
        _load(write_tab(train=[("a", "x"), ("b", "y")], test=[]))


def test_a_single_class_is_refused(write_tab):
    with pytest.raises(InvalidArgumentError, match=r"train\.tab has the single label 'a'; at least two"):
        _load(write_tab(train=[("a", "x")] * 20, test=[("a", "y")]))


def test_a_test_label_that_train_lacks_is_named(write_tab):
    with pytest.raises(InvalidArgumentError, match="test has the label 'c', which train lacks"):
        _load(write_tab(train=[("a", "x"), ("b", "y")] * 20, test=[("c", "z")]))


def test_too_few_rows_for_a_dev_part_are_refused(write_tab):
    with pytest.raises(InvalidArgumentError, match="too few rows to hold out a dev part"):
        _load(write_tab(train=[("a", "x"), ("b", "y")], test=[("a", "z")]))
