# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole job, on one screen: three models, the gate, the test set through the gateway, labels, report."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from demo import admin, clients, gateway, logged
from demo.checks import Check, Measurements, all_checks
from demo.command import Dragoman
from demo.picture import save_confusion
from demo.places import Places
from demo.report import report_when_caught_up
from demo.rows import read_test_rows
from demo.timing import Phases
from demo.training import MODEL, Trained, train
from dragoman_client import Client

DATASET = "r8"
VECTORS = "glove-50d"


@dataclass(kw_only=True)
class Outcome:
    """What a run found."""

    checks: list[Check] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    confusion: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""


def run(places: Places, dragoman: Dragoman, phases: Phases) -> Outcome:
    """Close the loop once, on a platform that is running. Fetched data, models and events stay where they are."""
    rows = read_test_rows(places.cache / "data" / DATASET)
    with phases.phase("train linear"):
        linear = train(dragoman, "linear")
    with phases.phase("train bilstm"):
        bilstm = train(dragoman, "bilstm")
    with phases.phase("train shuffled"):
        shuffled = train(dragoman, "linear", {"self_test.shuffle_training_labels": "true"})
    refused, _ = promote_raw(places, shuffled)
    move_prod(dragoman, linear, "the baseline")
    refused_beside, refusal = promote_raw(places, shuffled)
    move_prod(dragoman, bilstm, "as good as the baseline, by the gate")
    token = dragoman.json("token")["token"]
    target = dragoman.json("status")["grpc_target"]
    with Client(target, token) as client:
        with phases.phase("serve bilstm"):
            gateway.wait_until_served(client, MODEL, bilstm.version)
        with phases.phase("ask"):
            answers = clients.ask(places, rows, target=target, token=token)
        with phases.phase("label"):
            gateway.send_labels(client, answers.rows, rows)
    with phases.phase("report"):
        report = report_when_caught_up(dragoman, MODEL, bilstm.version, num_labelled=len(answers.rows))
        counts = logged.count_in_another_process(places.home, MODEL, bilstm.version)
    offline = evaluation(places, bilstm)
    measurements = Measurements(
        refused_code=refused,
        refused_beside_production_code=refused_beside,
        answered=len(answers.rows),
        events_logged=counts["events"],
        events_distinct=counts["distinct"],
        events_counted=report.get("num_predictions", 0) - report.get("num_errors", 0),
        num_labelled=report.get("num_labelled", 0),
        online_accuracy=report.get("accuracy") or 0.0,
        test_accuracy=offline["accuracy"],
        versions_answering=frozenset((row["version"], row["root_sha256"]) for row in answers.rows),
        expected_version=(bilstm.version, bilstm.root_sha256),
        max_score_sum_error=max((abs(row["score_sum"] - 1.0) for row in answers.rows), default=0.0),
    )
    confusion = report.get("confusion", [])
    save_confusion(confusion, places.picture, title=f"{MODEL} version {bilstm.version} on the R8 test set")
    return Outcome(
        checks=all_checks(measurements),
        confusion=confusion,
        refusal=refusal,
        report={
            "test_accuracy": measurements.test_accuracy,
            "online_accuracy": measurements.online_accuracy,
            "linear_accuracy": evaluation(places, linear)["accuracy"],
            "macro_recall": report.get("macro_recall"),
            "answered": measurements.answered,
            "errors": answers.errors[:10],
            "events_logged": measurements.events_logged,
            "events_counted": measurements.events_counted,
            "num_labelled": measurements.num_labelled,
            "p50_ms": answers.latency_ms(0.50) if answers.rows else None,
            "p99_ms": answers.latency_ms(0.99) if answers.rows else None,
            "gateway_latency": report.get("latency"),
            "requests_per_s": answers.requests_per_s,
            "train_s": phases.seconds["train bilstm"],
            "model_version": bilstm.version,
            "digest": bilstm.root_sha256,
        },
    )


def promote_raw(places: Places, trained: Trained) -> tuple[str, str]:
    """Ask the registry itself to point prod to a version: code and text of its answer."""
    return asyncio.run(admin.set_alias_code(places.home, MODEL, "prod", trained.version))


def move_prod(dragoman: Dragoman, trained: Trained, reason: str) -> None:
    dragoman.show("alias", MODEL, "prod", str(trained.version), "--reason", reason, timeout_s=90)


def evaluation(places: Places, trained: Trained) -> dict[str, Any]:
    return asyncio.run(admin.evaluation_of(places.home, MODEL, trained.version, DATASET))
