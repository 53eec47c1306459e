# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Several client processes at once, and what they were answered, put together."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo.places import Places
from demo.rows import TestRow

NUM_PROCESSES = 2
NUM_TASKS = 8
_TIMEOUT_S = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Every row's answer. `rows` is in the order of the test set; a row without an answer is in `errors`."""

    rows: list[dict[str, Any]]
    errors: list[str]
    duration_s: float

    @property
    def requests_per_s(self) -> float:
        return len(self.rows) / self.duration_s

    def latency_ms(self, quantile: float) -> float:
        """The latency that this share of the calls did not exceed, as the clients saw it (nearest rank)."""
        latencies = sorted(row["latency_ms"] for row in self.rows)
        return float(latencies[max(0, math.ceil(quantile * len(latencies)) - 1)])


def ask(places: Places, rows: Sequence[TestRow], *, target: str, token: str) -> Answers:
    """Send every row from `NUM_PROCESSES` processes with `NUM_TASKS` calls at a time each."""
    rows_file = places.exchange / "rows.json"
    rows_file.write_text(json.dumps([row.text for row in rows]), encoding="utf-8")
    files = [places.exchange / f"answers-{part}.json" for part in range(NUM_PROCESSES)]
    processes = [
        subprocess.Popen(  # noqa: S603  our own module, no shell
            [
                *(sys.executable, "-m", "demo.traffic", str(rows_file), str(file), target),
                *(str(part), str(NUM_PROCESSES), str(NUM_TASKS)),
            ],
            env={**os.environ, "DRAGOMAN_TOKEN": token},
        )
        for part, file in enumerate(files)
    ]
    try:
        codes = [process.wait(timeout=_TIMEOUT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(codes):
        raise RuntimeError(f"client processes ended with {codes}")
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    answers = sorted((answer for document in documents for answer in document["answers"]), key=lambda a: a["index"])
    return Answers(
        rows=[answer for answer in answers if "error" not in answer],
        errors=[f"row {answer['index']}: {answer['error']}" for answer in answers if "error" in answer],
        duration_s=max(d["end_s"] for d in documents) - min(d["start_s"] for d in documents),
    )
