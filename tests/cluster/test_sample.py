# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""k8s/sample, applied as its page says, in this release's namespace: a Job by hand trains a model that answers."""

import time

import pytest

from tests.cluster.kubectl import until
from tests.deploy import helm
from tests.faults.figures import note

pytestmark = pytest.mark.slow

SAMPLE = helm.CHART.parents[2] / "k8s" / "sample"
NAMESPACE = "models"
"""Which the files name, and whoever has another one changes."""


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
    note(f"k8s/sample, from `kubectl apply -k` to its alias: {time.monotonic() - began_s:.0f} s")
