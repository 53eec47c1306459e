# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What `data add` refuses, and that it refuses nothing that training reads."""

from pathlib import Path

import pytest

from dragoman_client.datasets_check import check_split
from dragoman_common.errors import InvalidArgumentError, NotFoundError

GOOD = {
    "a.csv": b'id,Text,LABEL\n1,one,x\n\n2,"two\nlines",y\n',
    "bom.csv": b"\xef\xbb\xbflabel,text\nx,one\ny,two\n",
    "ag.csv": b'"1","A title","text"\n"2","B","more"\n',
    "orange.tab": b"Category\tText\nd\tstring\nclass\t\nx\tone\ny\ttwo\n",
    "a.tab": b"label\ttext\nx\tone\ny\ttwo\n",
    "a.jsonl": b'{"text": "one", "label": "x"}\n\n{"text": "two", "label": "y", "id": 1}\n',
}


def _write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_what_training_reads_passes(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path, name, GOOD[name])
    check_split(path, path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "line 1: the header must name one of text, description, content"),
        ("a.csv", b"label;text\nx;y\n", "The separator seems to be ';': save the file with ','"),
        ("a.csv", b"kind,words\nx,y\n", "and one of label, category, class, with ',' between; found 'kind', 'words'"),
        ("a.csv", b"label,text\n", "no row with a text and a label"),
        ("a.csv", b"label,text\nx,\n,y\n", "no row with a text and a label"),
        ("a.csv", b"label,text\nx,one\nx,two\n", "all rows have the label 'x'; at least two are needed"),
        ("a.csv", b"label,text\nx,one,more\n", "line 2: 3 columns, not 2 as the header"),
        ("a.csv", b"label,text\nx,na\xefve\n", "line 2: byte 5 is 0xef, which is not UTF-8"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0", "line 1: byte 1 is 0x89, which is not UTF-8"),
        ("a.csv", b"PK\x03\x04\0\0", "line 1: a zero byte, so no text file"),
        ("a.csv", "label,text".encode("utf-16"), "line 1: UTF-16 text; save it as UTF-8"),
        ("a.csv", b'label,text\nx,"open\n', "line 2: unexpected end of data; check its quotation marks"),
        ("a.csv", b"1,a,b\nx,c,d\n", "line 2: must be a class number, a title and a description"),
        ("a.tab", b"label,text\nx,one\n", "save the file with a tab"),
        ("a.jsonl", b'{"text": "a", "label": "x"}\n{oops\n', "line 2: not JSON"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n', "line 1: must be an object with the strings 'text' and 'label'"),
        ("a.parquet", b"", "the name must end in .tab, .csv, .jsonl"),
    ],
)
def test_what_training_cannot_use_is_refused_by_file_and_line(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = _write(tmp_path, name, data)
    with pytest.raises(InvalidArgumentError) as caught:
        check_split(path, _write(tmp_path, "test.csv", GOOD["bom.csv"]))
    assert caught.value.message.startswith(f"train file {path}")
    assert message in caught.value.message


def test_a_label_of_test_that_train_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    train = _write(tmp_path, "train.csv", GOOD["a.csv"])
    test = _write(tmp_path, "test.csv", b"label,text\nx,one\nz,two\n")
    with pytest.raises(InvalidArgumentError, match=r"test file .*test\.csv, line 3: the label 'z' does not occur"):
        check_split(train, test)


def test_a_class_that_classes_txt_does_not_name_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "classes.txt", b"World\n")
    path = _write(tmp_path, "train.csv", GOOD["ag.csv"])
    with pytest.raises(InvalidArgumentError, match=r"line 2: class 2, and classes\.txt beside the train file names 1"):
        check_split(path, path)


def test_a_missing_file_is_not_found_and_a_folder_is_invalid(tmp_path: Path) -> None:
    good = _write(tmp_path, "a.csv", GOOD["a.csv"])
    with pytest.raises(NotFoundError, match=r"test file .*gone\.csv does not exist"):
        check_split(good, tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidArgumentError, match="is a folder, must be a file"):
        check_split(tmp_path / "folder.csv", good)
