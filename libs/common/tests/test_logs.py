# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One event is one line that a JSON parser reads, whatever strings it holds."""

import io
import json
import logging

from dragoman_common.logs import JsonFormatter


def test_hostile_strings_stay_inside_one_json_line():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("gateway"))
    logger = logging.getLogger("test_logs")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    hostile = 'x\n{"level": "FAKE"}\x1b[31m"}'
    logger.info("model %s", hostile, extra={"model": hostile})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
    assert json.loads(lines[0])["model"] == hostile
