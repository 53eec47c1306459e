# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The files that a job leaves: its result, and the end of its log."""

import pytest

from dragoman_launcher.job_log import TAIL_LINES, log_tail
from dragoman_launcher.outcome import JobResult, Verdict
from dragoman_launcher.result_file import parse_result, read_result

GOOD = b'{"format": "dragoman.result/1", "outcome": "succeeded"}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": "dragoman.result/2", "outcome": "succeeded"}',
        b'{"format": "dragoman.result/1"}',
        b'{"format": "dragoman.result/1", "outcome": "great"}',
        b'{"format": "dragoman.result/1", "outcome": ["succeeded"]}',
        GOOD[:-1] + b', "more": 1}',
        GOOD[:-1] + b', "message": 1}',
        GOOD[:-1] + b', "published_version": 1}',
        GOOD[:-1] + b', "published_version": true, "published_root_sha256": ""}',
        GOOD[:-1] + b', "published_version": 1, "published_root_sha256": "x"}',
        b"[" * 60_000,
        b"\xff\xfe",
    ],
)
def test_a_result_that_is_not_one_counts_as_none(data):
    assert parse_result(data) is None


def test_a_result_that_is_a_link_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    link = tmp_path / "result.json"
    link.symlink_to(secret)

    assert read_result(secret) == JobResult(verdict=Verdict.SUCCEEDED)
    assert read_result(link) is None


def test_the_tail_of_a_log_is_its_last_lines_without_control_characters(tmp_path):
    path = tmp_path / "log"
    lines = [f"line {number}" for number in range(1000)]
    path.write_bytes("\n".join(lines).encode() + b"\n10%\r50%\rdone \x1b[31mred\xff\n\n")

    tail = log_tail(path).splitlines()

    assert tail == [*lines[-TAIL_LINES + 1 :], "done [31mred\ufffd"]
