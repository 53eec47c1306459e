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
        ("train.tab", "a\tb\nx\ty\n", "must name one of text, description, content and one of label, category, class"),
        ("train.tab", "a\tb\nx\ty\n", "with a tab between; found 'a', 'b'"),
        ("train.tab", "label,text\nx,y\n", "The separator seems to be ',': save the file with a tab"),
        ("train.csv", "label;text\nx;y\n", "The separator seems to be ';': save the file with ','"),
        ("train.csv", "x,y\n", "found 'x', 'y'. Without a header, each row is a class number"),
        ("train.csv", "1\n", "found '1'"),
        ("train.csv", "\n", "found nothing"),
        ("train.csv", ",".join("abcdefghij"), "'h' and 2 more"),
        ("train.csv", "1,a,b\nx,a,b\n", "line 2 must be a class number, a title and a description, as line 1 is"),
        ("train.csv", 'label,text\nx,"unclosed\n', "line 2: the file ends inside quotation marks"),
        ("train.csv", 'label,text\nx,"a"b\n', "line 2: ',' expected after '\"'; write a quotation mark"),
        ("train.csv", "label,text\nx," + "y" * 1_048_577 + "\n", "line 2: a text of more than 1,048,576 characters"),
        ("train.jsonl", '{"label": "x", "text": "' + "y" * 1_048_577 + '"}', "line 1: a text of more than 1,048,576"),
        ("train.jsonl", '{"texts": "a", "label": "x"}', "found 'texts', 'label'"),
        ("train.csv", "label,text\nx,a\0b\n", "train.csv: line 2: a zero byte, so no text file"),
        ("train.parquet", "", "must end in .tab, .csv, .jsonl"),
    ],
)
def test_damaged_files_are_refused_with_file_and_line(tmp_path, name, text, message):
    with pytest.raises(InvalidArgumentError) as caught:
        read_rows(_write(tmp_path, name, text))
    assert message in caught.value.message


def test_a_class_beyond_the_names_is_refused(tmp_path):
    _write(tmp_path, "classes.txt", "World\nSports\n")
    with pytest.raises(InvalidArgumentError, match=r"line 1 has class 3; classes\.txt lists 2"):
        read_rows(_write(tmp_path, "train.csv", '"3","A","b"\n'))


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / "train.tab"
    path.write_bytes(b"label\ttext\nx\t\xff\xfe\n")
    with pytest.raises(
        InvalidArgumentError, match=r"train\.tab: line 2: byte 3 is 0xff, not UTF-8 text; save the file"
    ):
        read_rows(path)


def test_class_names_that_are_not_utf8_are_refused_by_their_own_name(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"World\nF\xe9te\n")
    with pytest.raises(InvalidArgumentError, match=r"classes\.txt: line 2: byte 2 is 0xe9"):
        read_rows(_write(tmp_path, "train.csv", '"1","A","b"\n'))


@pytest.mark.parametrize("text", ["label,text\nx,one\n", '"1","A","b"\n'])
def test_a_byte_order_mark_is_passed_over(tmp_path, text):
    plain = read_rows(_write(tmp_path, "plain.csv", text))
    path = tmp_path / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_rows(path) == plain
    lines = tmp_path / "train.jsonl"
    lines.write_bytes(b"\xef\xbb\xbf" + b'{"text": "a", "label": "x"}\n')
    assert read_rows(lines) == [Row("x", "a")]


def test_utf16_text_is_named_as_such(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes("label,text\nx,one\n".encode("utf-16"))
    with pytest.raises(InvalidArgumentError, match="line 1: UTF-16 text; save it as UTF-8"):
        read_rows(path)


def test_rows_know_their_line(tmp_path):
    path = _write(tmp_path, "train.csv", 'label,text\nx,one\n\ny,"two\nlines"\n')
    assert [row.line for row in read_rows(path)] == [2, 5]
    assert [row.line for row in read_rows(_write(tmp_path, "ag.csv", '"1","A","b"\n"2","C","d"\n'))] == [1, 2]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"test\.tab does not exist"):
        read_rows(tmp_path / "test.tab")


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_rows(_write(tmp_path, "train.tab", "")) == []
