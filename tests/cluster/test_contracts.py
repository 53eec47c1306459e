# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What others rely on: the events that leave, read by a program of theirs; the bytes that come in, possibly spoilt."""

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from minio import Minio

from tests.cluster.chaos import kill, until_replaced, victims
from tests.cluster.installation import MODEL, known_rows
from tests.cluster.kubectl import component, until
from tests.cluster.places import CONSUMER_IMAGE, restricted_pod
from tests.faults.figures import note

pytestmark = pytest.mark.slow

WORKERS = "app.kubernetes.io/component=worker-cpu"


def counted(kubectl, name: str) -> dict:
    """What examples/consumer counts to the topics' present ends, run as a pod."""
    settings = f"bootstrap.servers=dragoman-kafka.{kubectl.namespace}.svc:9092\n"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"client.properties": settings},
    }
    pod = restricted_pod(
        name,
        CONSUMER_IMAGE,
        ["/etc/consumer/client.properties", "--until-end", f"--group={name}"],
        volumes=[{"name": "settings", "configMap": {"name": name}}],
        mounts=[{"name": "settings", "mountPath": "/etc/consumer"}],
    )
    kubectl.apply(config, pod)
    try:
        phase = until(
            lambda: (
                kubectl.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed")
                and kubectl.get("pod", name)["status"]["phase"]
            ),
            name,
            limit_s=120,
        )
        log = kubectl.run("logs", name)
        assert phase == "Succeeded", log
        return json.loads(log.strip().splitlines()[-1])
    finally:
        kubectl.run("delete", "pod,configmap", name, "--wait=false")


def num_predictions(document: dict) -> int:
    return sum(one["total"]["predictions"] for one in document["versions"] if one["model"] == MODEL)


def test_a_prediction_through_the_service_is_in_the_topic_for_a_program_that_has_only_the_protos(kubectl, installation):
    before = num_predictions(counted(kubectl, "consumer-before"))
    texts = "".join(f"{text}\n" for text, _ in known_rows())
    installation.dragoman("predict", MODEL, stdin=texts)
    document = until(
        lambda: (found := counted(kubectl, "consumer-after")) and num_predictions(found) >= before + 20 and found,
        "20 events",
        limit_s=120,
    )
    assert num_predictions(document) == before + 20
    assert all(tenant["poison"] == 0 for tenant in document["tenants"].values())
    note(f"examples/consumer as a pod: {before} + 20 predictions counted")


@contextmanager
def spoiled_weights(kubectl) -> Iterator[str]:
    """The largest object of the bucket, which is a model's weights, has a flipped bit for the time of the block."""
    secret = kubectl.get("secret", "dragoman-store")["data"]
    user, password = (b64decode(secret[key]).decode() for key in ("user", "password"))
    with kubectl.forward("statefulset/dragoman-minio", 9000) as address:
        client = Minio(address, user, password, secure=False)
        blobs = [one for one in client.list_objects("dragoman", recursive=True) if "/blobs/" in one.object_name]
        name = max(blobs, key=lambda one: one.size).object_name
        with client.get_object("dragoman", name) as response:
            whole = response.read()
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        client.put_object("dragoman", name, BytesIO(flipped), len(flipped))
        try:
            yield name
        finally:
            client.put_object("dragoman", name, BytesIO(whole), len(whole))


def test_a_restarted_worker_refuses_tampered_weights_and_the_others_answer(kubectl, two, load):
    with load(callers=4) as calls, spoiled_weights(kubectl):
        before = {pod["metadata"]["uid"] for pod in kubectl.pods(WORKERS)}
        victim = next(pod for pod in victims(kubectl) if component(pod) == "worker-cpu")
        kill(kubectl, victim)
        refused = until(
            lambda: [
                line
                for pod in kubectl.pods(WORKERS)
                if pod["metadata"]["uid"] not in before
                for line in kubectl.run("logs", pod["metadata"]["name"]).splitlines()
                if "DATA_LOSS" in line
            ],
            "a worker's refusal",
            limit_s=120,
        )
        outcome = calls.end()
    note(f"tampered weights: {outcome}; said: {refused[0][:300]}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    # With the right bytes it loads by itself.
    until_replaced(kubectl, victim)
