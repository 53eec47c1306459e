# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import pytest

from dragoman_common.errors import InvalidArgumentError, NotFoundError
from dragoman_trainer.rows import Row, read_rows


def _write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_orange_tab_headers_are_skipped(tmp_path):
    path = _write(tmp_path, "train.tab", "Category\tText\nd\tstring\nclass\t\nearn\tnet profit\nacq\tbuys shares\n")
    assert read_rows(path) == [Row("earn", "net profit"), Row("acq", "buys shares")]


def test_a_blank_third_orange_header_is_skipped(tmp_path):
    path = _write(tmp_path, "train.tab", "Category\tText\nd\tstring\n\t\nearn\tnet profit\n")
    assert read_rows(path) == [Row("earn", "net profit")]


def test_a_plain_tab_file_loses_no_row(tmp_path):
    path = _write(tmp_path, "train.tab", "label\ttext\nearn\tnet profit\nacq\tbuys\nacq\tsells\n")
    assert [row.label for row in read_rows(path)] == ["earn", "acq", "acq"]


def test_ag_news_layout_joins_title_and_description_and_names_classes(tmp_path):
    _write(tmp_path, "classes.txt", "World\nSports\n")
    path = _write(tmp_path, "train.csv", '"2","A title","He said ""go"", twice"\n"1","Other","text"\n')
    assert read_rows(path) == [Row("Sports", 'A title He said "go", twice'), Row("World", "Other text")]


def test_ag_news_layout_without_names_keeps_the_numbers(tmp_path):
    assert read_rows(_write(tmp_path, "train.csv", '"3","A","b"\n')) == [Row("3", "A b")]


def test_csv_with_a_header_may_have_its_columns_in_any_order(tmp_path):
    path = _write(tmp_path, "train.csv", 'id,Text,LABEL\n1,"a, b",x\n2,"two\nlines",y\n')
    assert read_rows(path) == [Row("x", "a, b"), Row("y", "two\nlines")]


def test_json_lines(tmp_path):
    path = _write(tmp_path, "train.jsonl", '{"text": "über", "label": "x", "id": 1}\n\n{"text": "b", "label": "y"}\n')
    assert read_rows(path) == [Row("x", "über"), Row("y", "b")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.jsonl", '{"text": "a", "label": "x"}\n{oops\n', "line 2 is not JSON"),
        ("train.jsonl", "[1]\n", "line 1 must be an object"),
        ("train.jsonl", '{"text": "a", "label": 1}\n', "line 1 must have the strings 'text' and 'label'"),
        ("train.tab", "label\ttext\nx\ta\tb\n", "line 2 has 3 columns, not 2"),
        ("train.tab", "a\tb\nx\ty\n", "header must name one of label, category, class"),
        ("train.csv", "x,y\n", "row 1 must be a class number"),
        ("train.csv", "1\n", "row 1 must be a class number"),
        ("train.csv", 'label,text\nx,"unclosed\n', "train.csv"),
        ("train.parquet", "", "must end in .tab, .csv, .jsonl"),
    ],
)
def test_damaged_files_are_refused_with_file_and_line(tmp_path, name, text, message):
    with pytest.raises(InvalidArgumentError) as caught:
        read_rows(_write(tmp_path, name, text))
    assert message in caught.value.message


def test_a_class_beyond_the_names_is_refused(tmp_path):
    _write(tmp_path, "classes.txt", "World\nSports\n")
    with pytest.raises(InvalidArgumentError, match="row 1 has class 3"):
        read_rows(_write(tmp_path, "train.csv", '"3","A","b"\n'))


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "train.tab"
    path.write_bytes(b"label\ttext\nx\t\xff\xfe\n")
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        read_rows(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"test\.tab does not exist"):
        read_rows(tmp_path / "test.tab")


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_rows(_write(tmp_path, "train.tab", "")) == []
