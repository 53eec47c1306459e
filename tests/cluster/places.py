# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests need around a release: a namespace, and the names of images and values."""

from pathlib import Path

from tests.cluster.kubectl import Object
from tests.deploy import helm

NAMESPACE = "dragoman-test"
VALUES = helm.VALUES / "evaluation.yaml"
VALUES_TWO = Path(__file__).with_name("two.yaml")
VALUES_SCALED = Path(__file__).with_name("scaled.yaml")
CLIENT_IMAGE = "localhost/dragoman-client:0.1.0"
SERVICES = (
    "gateway",
    "tokenizer",
    "registry",
    "worker-lite",
    "launcher",
    "trainer-lite",
    "monitor",
    "client",
    "autoscaler",
)
CONSUMER_IMAGE = "localhost/dragoman-example-consumer:latest"
IMAGES = (
    *(f"localhost/dragoman-{name}:0.1.0" for name in SERVICES),
    *(f"localhost/dragoman-{name}:latest" for name in ("minio", "kafka", "postgres")),
    CONSUMER_IMAGE,
)
TORCH_IMAGES = tuple(f"localhost/dragoman-{name}:0.1.0" for name in ("worker-torch", "trainer-torch"))


def namespace(name: str) -> Object:
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def restricted_pod(
    name: str, image: str, arguments: list[str], *, volumes: list[Object], mounts: list[Object]
) -> Object:
    """A pod that a restricted namespace takes, and that runs once."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "args": arguments,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        },
    }
