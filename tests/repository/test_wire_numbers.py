# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Protos grow and do not change: what a peer of another release sends is read as it was meant."""

import shutil

import pytest

from tests.repository.wire_numbers import PROTOS, broken, compiled, released, wire_numbers


def test_no_released_number_type_or_method_is_gone_or_changed():
    assert broken(released(), wire_numbers(compiled())) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("int64 number = 3;", "int64 number = 93;", "ModelVersion.number: released as '3 int64', now '93 int64'"),
        ("int64 number = 3;", "string number = 3;", "ModelVersion.number: released as '3 int64', now '3 string'"),
        ("int64 number = 3;", "", "ModelVersion.number: released as '3 int64', now 'gone'"),
        ("string task = 8;", "repeated string task = 8;", "now '8 repeated string'"),
        ("returns (stream WatchAliasesResponse)", "returns (WatchAliasesResponse)", "RegistryService.WatchAliases"),
        ("QUALITY_RULE_NONE = 1;", "QUALITY_RULE_NONE = 9;", "QUALITY_RULE_NONE: released as '1', now '9'"),
    ],
)
def test_a_broken_number_type_or_method_is_named(tmp_path, before, after, message):
    folder = shutil.copytree(PROTOS, tmp_path / "protos", ignore=shutil.ignore_patterns("gen"))
    path = folder / "dragoman/registry/v1/registry.proto"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    found = broken(released(), wire_numbers(compiled(folder)))
    assert any(message in line for line in found), found


def test_an_addition_breaks_nothing(tmp_path):
    folder = shutil.copytree(PROTOS, tmp_path / "protos", ignore=shutil.ignore_patterns("gen"))
    path = folder / "dragoman/registry/v1/registry.proto"
    path.write_text(path.read_text() + "\nmessage Added {\n  string text = 1;\n}\n")
    assert broken(released(), wire_numbers(compiled(folder))) == []
