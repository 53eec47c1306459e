# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""k8s/, applied by `kubectl apply -k` as its files say: what an administrator makes once, and a sample training job."""

import time

import pytest

from tests.cluster.kubectl import Kubectl, KubectlError, until
from tests.deploy import helm
from tests.faults.figures import note

pytestmark = pytest.mark.slow

FOLDER = helm.CHART.parents[2] / "k8s"
SAMPLE = FOLDER / "sample"
NAMESPACE = "models"
"""Which the files name, and whoever has another one changes."""


def test_what_an_administrator_makes_once_is_taken_and_keeps_bad_pods_out(kubectl):
    administrator = Kubectl(kubectl.kubeconfig, "")
    administrator.run("apply", f"--kustomize={FOLDER}")
    try:
        for name in (NAMESPACE, "training"):
            inside = Kubectl(kubectl.kubeconfig, name)
            assert inside.get("resourcequotas")["items"]
            assert inside.get("limitranges")["items"]
            with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
                inside.run("run", "planted", "--image=localhost/dragoman-client:0.1.0")
        assert Kubectl(kubectl.kubeconfig, "training").get("networkpolicies")["items"]
        names = {one["metadata"]["name"] for one in kubectl.get("priorityclasses")["items"]}
        assert {"dragoman-serving", "dragoman-training"} <= names
    finally:
        administrator.run("delete", f"--kustomize={FOLDER}", "--wait=true", timeout_s=180)


def test_the_sample_of_k8s_trains_a_model_that_tells_urgent_from_normal(kubectl, installation):
    drawn = kubectl.run("kustomize", str(SAMPLE))
    for place in (f"namespace: {NAMESPACE}\n", f".{NAMESPACE}.svc"):
        assert place in drawn
        drawn = drawn.replace(place, place.replace(NAMESPACE, kubectl.namespace))
    began_s = time.monotonic()
    kubectl.run("apply", "--filename=-", stdin=drawn)
    (job,) = [one for one in kubectl.get("jobs")["items"] if one["metadata"]["name"] == "dragoman-urgency"]
    name = job["metadata"]["name"]

    def has_ended() -> bool:
        status = kubectl.get(f"job/{name}")["status"]
        assert not status.get("failed"), kubectl.run("logs", f"job/{name}")
        return bool(status.get("succeeded"))

    until(has_ended, "the sample's Job", limit_s=300)
    texts = {"The main database is down right now.": "urgent", "The printed catalogue could be nicer.": "normal"}
    found = installation.dragoman("predict", "urgency", stdin="".join(f"{text}\n" for text in texts))
    assert [line.split("\t")[0] for line in found.splitlines()] == list(texts.values())
    kubectl.run("delete", "--filename=-", "--wait=true", stdin=drawn)
    note(f"k8s/sample, from `kubectl apply -k` to its alias: {time.monotonic() - began_s:.0f} s")
