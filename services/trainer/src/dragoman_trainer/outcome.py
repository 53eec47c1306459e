# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a run ended, for the process that started it: the result file and the printed metrics. Formats in the README."""

import json
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.atomic import write_atomic
from dragoman_trainer.ports import Published
from dragoman_trainer.training import RunResult

RESULT_FORMAT = "dragoman.result/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """``succeeded``, ``failed`` or ``cancelled``, with a message for the run's owner."""

    verdict: str
    message: str
    published: Published | None = None


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write the result file; a reader sees all of it or none."""
    content: dict[str, object] = {"format": RESULT_FORMAT, "outcome": outcome.verdict, "message": outcome.message}
    if outcome.published is not None:
        content["published_version"] = outcome.published.version
        content["published_root_sha256"] = outcome.published.root_sha256
    write_atomic(path, json.dumps(content).encode())


def metrics_json(result: RunResult) -> str:
    """Return the run's figures as one line of JSON."""
    evaluation = result.evaluation
    content = {
        "test_accuracy": evaluation.accuracy,
        "test_macro_f1": evaluation.macro_f1,
        "test_macro_recall": evaluation.macro_recall,
        "test_majority_accuracy": evaluation.majority_accuracy,
        "test_ece": evaluation.ece,
        "test_nll": evaluation.nll,
        "test_rows": evaluation.num_rows,
        "test_digest": evaluation.digest,
        "dev_accuracy": result.dev_accuracy,
        "weights_sha256": result.weights_sha256,
        "train_s": round(result.train_s, 2),
        "total_s": round(result.total_s, 2),
        "package": str(result.package_dir),
        "published_version": result.published.version if result.published is not None else None,
    }
    return json.dumps(content)
