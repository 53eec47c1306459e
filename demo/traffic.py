# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One client process: its share of the test rows, one row a call, several calls at a time.

python -m demo.traffic ROWS.json ANSWERS.json TARGET PART PARTS TASKS     the token comes in $DRAGOMAN_TOKEN
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dragoman_client import AsyncClient
from dragoman_common.errors import DragomanError

MODEL = "r8"


async def send(target: str, token: str, rows: list[tuple[int, str]], num_tasks: int) -> list[dict[str, Any]]:
    """Classify every row in a call of its own, `num_tasks` at a time; one answer or error for each."""
    answers: list[dict[str, Any]] = []
    # One iterator for all tasks: each takes the next row when it is free.
    waiting: Iterator[tuple[int, str]] = iter(rows)
    async with AsyncClient(target, token, timeout_s=30.0) as client:

        async def work() -> None:
            for index, text in waiting:
                answers.append(await _ask(client, index, text))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(num_tasks):
                tasks.create_task(work())
    return answers


async def _ask(client: AsyncClient, index: int, text: str) -> dict[str, Any]:
    start_s = time.perf_counter()
    try:
        result = await client.classify(MODEL, [text])
    except DragomanError as error:
        return {"index": index, "error": f"{type(error).__name__}: {error.message}"}
    [row] = result.rows
    return {
        "index": index,
        "latency_ms": (time.perf_counter() - start_s) * 1e3,
        "request_id": result.request_id,
        "version": result.version,
        "root_sha256": result.root_sha256,
        "label": row.label,
        "score_sum": sum(row.scores),
    }


def main(arguments: list[str]) -> None:
    rows_file, answers_file, target, part, num_parts, num_tasks = arguments
    rows = list(enumerate(json.loads(Path(rows_file).read_text(encoding="utf-8"))))
    share = rows[int(part) :: int(num_parts)]
    start_s = time.time()
    answers = asyncio.run(send(target, os.environ["DRAGOMAN_TOKEN"], share, int(num_tasks)))
    document = {"start_s": start_s, "end_s": time.time(), "answers": answers}
    Path(answers_file).write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
