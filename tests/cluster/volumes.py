# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes for the claims of a release, on a cluster that makes none by itself: folders of its one node.

A folder that the kubelet makes is root's, and what is no CSI volume is not handed to a pod's group. So a pod that may
makes them, in a namespace of its own, which enforces nothing; another takes them away.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.cluster.kubectl import Kubectl, Object, until
from tests.cluster.places import CLIENT_IMAGE

CAPACITY = "10Gi"


@contextmanager
def volumes(kubectl: Kubectl, claims: Sequence[str]) -> Iterator[None]:
    """A volume for each of these claims of the namespace, for the time of the block; none where there is a class.

    Args:
        kubectl: Of the namespace that will claim them.
        claims: Names of claims to be, which are gone when the block ends. Nothing else can take their volumes.
    """
    if kubectl.get("storageclasses")["items"]:
        yield
        return
    node = Kubectl(kubectl.kubeconfig, f"{kubectl.namespace}-volumes")
    folder = f"/tmp/{kubectl.namespace}"
    names = " ".join(f"/volumes/{claim}" for claim in claims)
    node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": node.namespace}})
    try:
        # A run that was killed has left folders of its own, and volumes that are another claim's.
        _delete(kubectl, claims)
        make = f"mkdir -p {names} && chown 65532:65532 {names} && chmod 700 {names}"
        _as_root(node, "make", folder, f"rm -rf {names} && {make}")
        kubectl.apply(*(_volume(kubectl.namespace, claim, f"{folder}/{claim}") for claim in claims))
        yield
    finally:
        _delete(kubectl, claims)
        _as_root(node, "clear", folder, f"rm -rf {names}")
        node.run("delete", "namespace", node.namespace, "--wait=true", timeout_s=120)


def _delete(kubectl: Kubectl, claims: Sequence[str]) -> None:
    names = [f"{kubectl.namespace}-{claim}" for claim in claims]
    kubectl.run("delete", "persistentvolumes", *names, "--ignore-not-found", "--wait=true")


def _as_root(node: Kubectl, name: str, folder: str, command: str) -> None:
    """Run a shell command once, as root of a container, with a folder of the node at /volumes."""
    container = {
        "name": "main",
        "image": CLIENT_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", command],
        "securityContext": {"runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": [{"name": "volumes", "mountPath": "/volumes"}],
    }
    volume = {"name": "volumes", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}
    node.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "containers": [container], "volumes": [volume]},
        }
    )

    def phase() -> str:
        return str(node.get("pod", name)["status"]["phase"])

    until(lambda: phase() in ("Succeeded", "Failed"), f"folders: {name}", limit_s=60)
    assert phase() == "Succeeded", node.run("logs", name)


def _volume(namespace: str, claim: str, path: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}"},
        "spec": {
            "capacity": {"storage": CAPACITY},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": path, "type": "Directory"},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
        },
    }
