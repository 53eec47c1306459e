# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From an empty namespace to a right answer, by one values file; and what the namespace and the release keep out."""

import time

import pytest

from tests.cluster.installation import known_rows
from tests.cluster.kubectl import KubectlError
from tests.cluster.places import VALUES
from tests.faults.figures import note

pytestmark = pytest.mark.slow

MAX_VALUES_LINES = 20
INSTALL_S = 300


def test_twenty_known_texts_are_answered_right_by_a_model_that_this_installation_trained(installation):
    log = installation.sample_log()
    assert "20 of 20 right" in log, log
    lines = [line for line in VALUES.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= MAX_VALUES_LINES
    # And again, from the outside.
    rows = known_rows()
    began_s = time.monotonic()
    answered = installation.dragoman("predict", "sample", stdin="".join(f"{text}\n" for text, _ in rows))
    assert [line.split("\t")[0] for line in answered.splitlines()] == [label for _, label in rows]
    note(f"20 texts by exec in the client's pod: {time.monotonic() - began_s:.1f} s")


def test_first_right_answer_comes_within_five_minutes_of_helm_install(installation):
    if not installation.seconds_to_sample:
        pytest.skip("an earlier run has installed it")
    assert installation.seconds_to_sample <= INSTALL_S
    note(f"helm install to 20 right answers: {installation.seconds_to_sample:.0f} s")


def test_helm_test_passes(installation):
    assert "Phase:          Succeeded" in installation.helm("test", "dragoman")


def test_namespace_refuses_a_pod_that_is_not_restricted(kubectl, installation):
    bad = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "planted"},
        "spec": {"containers": [{"name": "planted", "image": "localhost/dragoman-client:0.1.0"}]},
    }
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
        kubectl.apply(bad)


def test_launcher_may_read_no_secret(kubectl, installation):
    account = f"--as=system:serviceaccount:{kubectl.namespace}:dragoman-launcher"
    for verb in ("get", "list", "create", "delete"):
        with pytest.raises(KubectlError):
            kubectl.run("auth", "can-i", verb, "secrets", account)
    assert kubectl.run("auth", "can-i", "create", "jobs.batch", account).strip() == "yes"
