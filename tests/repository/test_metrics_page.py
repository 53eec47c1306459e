# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md lists what the code makes, under names and with words that Prometheus's users can go by."""

import re

import pytest

from tests.repository.metrics_page import BOUNDS, LABELS, PAGE, collected, files_that_make_meters, page


@pytest.fixture(scope="module")
def made():
    return collected()


def test_page_is_what_the_code_makes(made):
    assert PAGE.read_text() == page(made), "python -m tests.repository.metrics_page"


def test_every_file_that_makes_meters_is_seen_to(made):
    """A new one is made by import, or in `_make` of metrics_page.py."""
    assert files_that_make_meters() - {each.file for each in made} == set()


def test_each_meter_says_what_it_counts_under_a_name_of_ours(made):
    semantic = {"rpc.server.duration", "http.server.duration"}
    assert [each.name for each in made if not each.description] == []
    assert [each.name for each in made if not each.name.startswith("dragoman.") and each.name not in semantic] == []


def test_prometheus_names_are_valid_and_each_is_one_meter(made):
    names = [each.prometheus_name for each in made]
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []
    assert sorted(set(names)) == sorted(names)


def test_labels_are_told_of_meters_that_there_are(made):
    assert set(LABELS) - {each.name for each in made} == set()
    assert {label for each in made for label in each.labels} == set(BOUNDS)
