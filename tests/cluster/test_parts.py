# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The parts that the platform stands on go away and come back while calls are made: no call fails, no event is lost."""

import json

import pytest

from tests.cluster.installation import MODEL
from tests.cluster.kubectl import is_ready, until
from tests.cluster.places import CLIENT_IMAGE
from tests.cluster.test_contracts import counted, num_predictions
from tests.faults.figures import note

pytestmark = pytest.mark.slow


def restarts(kubectl, pod: str) -> int:
    return kubectl.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"]


def restart(kubectl, part: str) -> None:
    """End the part's process by a signal, from a container beside it, and wait until it is back; its data stays."""
    pod = f"dragoman-{part}-0"
    before = restarts(kubectl, pod)
    # PostgreSQL would wait for its sessions at SIGTERM.
    number = "SIGINT" if part == "postgres" else "SIGTERM"
    end = ["python", "-c", f"import os, signal; os.kill(1, signal.{number})"]
    kubectl.run(
        "debug",
        pod,
        f"--target={part}",
        f"--image={CLIENT_IMAGE}",
        "--image-pull-policy=Never",
        "--profile=restricted",
        "--",
        *end,
    )
    until(lambda: restarts(kubectl, pod) > before, f"{part} ended", limit_s=60)
    until(lambda: is_ready(kubectl.get("pod", pod)), f"{part} back", limit_s=120)


@pytest.mark.parametrize("part", ["minio", "kafka", "postgres"])
def test_calls_go_on_while_a_part_restarts_and_every_answer_is_in_the_topic(kubectl, two, load, part):
    before = num_predictions(counted(kubectl, f"before-{part}"))
    with load(callers=8) as calls:
        restart(kubectl, part)
        outcome = calls.end()
    note(f"{part} restarted: {outcome}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    until(
        lambda: num_predictions(counted(kubectl, f"after-{part}")) >= before + outcome.num_ok,
        "every event in the topic",
        limit_s=180,
    )
    # And none twice: the consumer counts an event's id once, and each call was one row.
    assert num_predictions(counted(kubectl, f"twice-{part}")) == before + outcome.num_ok


def test_the_monitors_books_are_what_the_topic_says(kubectl, two):
    document = counted(kubectl, "books")
    report = until(
        lambda: (found := json.loads(two.dragoman("report", MODEL, "--json"))) and found, "a report", limit_s=60
    )
    total = sum(version["num_predictions"] for version in report["versions"])
    assert total == num_predictions(document)
