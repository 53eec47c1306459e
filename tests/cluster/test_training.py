# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Training as Jobs: a pod that is killed and killed again changes nothing, and the same request is the same Job."""

import json
import subprocess
import time

import pytest

from tests.cluster.installation import SAMPLE
from tests.cluster.kubectl import Object, is_ready, until
from tests.faults.figures import note

pytestmark = pytest.mark.slow

TRAINER = "app.kubernetes.io/name=dragoman-trainer"
LAUNCHER = "app.kubernetes.io/component=launcher"
RECIPE = "/tmp/recipe.yaml"
NUM_KILLS = 3


@pytest.fixture(scope="module")
def trained(installation):
    """What trains the sample's recipe into a model: trained(model, request_id) begins, and is waited for."""
    recipe = (SAMPLE / "recipe.yaml").read_text()
    installation.kubectl.run(
        "exec", "--stdin", "deployment/dragoman-client", "--", "sh", "-c", f"cat >{RECIPE}", stdin=recipe
    )

    def begin(model: str, request_id: str) -> subprocess.Popen[str]:
        inside = ["exec", "deployment/dragoman-client", "--", "dragoman", "train", RECIPE]
        command = installation.kubectl.command(*inside, f"--model={model}", f"--request-id={request_id}", "--json")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def result(process: subprocess.Popen[str], *, limit_s: float = 300) -> Object:
    printed, problems = process.communicate(timeout=limit_s)
    assert process.returncode == 0, problems
    # A line when the job is accepted, and one when it has ended.
    found: Object = json.loads(printed.splitlines()[-1])
    return found


def again(process: subprocess.Popen[str]) -> Object | None:
    """As `result`, and None while the launcher cannot be reached: its name may lead to the pod that went."""
    try:
        return result(process)
    except AssertionError as error:
        if "UNAVAILABLE" in str(error):
            return None
        raise


def jobs(kubectl) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in kubectl.get("jobs", f"--selector={TRAINER}")["items"]}


def versions(installation, model: str) -> int:
    models = json.loads(installation.dragoman("models", "--json"))["models"]
    return next(one["num_versions"] for one in models if one["model"] == model)


def test_a_job_whose_pod_is_killed_three_times_ends_with_the_same_weights(kubectl, installation, trained):
    result(trained("twin", "whole-1"))
    before = jobs(kubectl)
    killed: set[str] = set()
    process = trained("twin", "killed-1")
    try:
        (name,) = until(lambda: jobs(kubectl).keys() - before.keys(), "a Job", limit_s=60)
        while len(killed) < NUM_KILLS:
            pod = until(
                lambda: next(
                    (
                        pod
                        for pod in kubectl.pods(f"batch.kubernetes.io/job-name={name}")
                        if pod["metadata"]["uid"] not in killed and pod["status"]["phase"] == "Running"
                    ),
                    None,
                ),
                "a running pod",
                limit_s=120,
                every_s=0.1,
            )
            killed.add(pod["metadata"]["uid"])
            kubectl.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
        began_s = time.monotonic()
        result(process)
    finally:
        process.kill()
    # What has the same content is the same version, whichever run published it.
    assert versions(installation, "twin") == 1
    note(f"a Job's pod killed {NUM_KILLS} times: the same version, {time.monotonic() - began_s:.0f} s after the last")


def test_the_same_request_twice_at_once_makes_one_job_and_one_version(kubectl, installation, trained):
    before = jobs(kubectl)
    first, second = (trained("once", "once-1") for _ in range(2))
    documents = [result(first), result(second)]
    assert len({one["job"]["id"] for one in documents}) == 1
    assert len(jobs(kubectl).keys() - before.keys()) == 1
    assert versions(installation, "once") == 1


def test_launchers_that_are_all_killed_have_lost_nothing(kubectl, installation, trained):
    process = trained("kept", "kept-1")
    try:
        for pod in kubectl.pods(LAUNCHER):
            kubectl.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=true")
        process.communicate(timeout=300)
        until(
            lambda: all(map(is_ready, kubectl.pods(LAUNCHER))) and kubectl.pods(LAUNCHER), "the launcher", limit_s=120
        )
        # Asked again, with the same id: the same Job, which has gone on meanwhile.
        document = until(lambda: again(trained("kept", "kept-1")), "the same Job", limit_s=180)
    finally:
        process.kill()
    assert versions(installation, "kept") == 1
    assert document["job"]["state"].upper().endswith("SUCCEEDED")
