# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One pod each of MinIO, Kafka and PostgreSQL, from the test images: TLS and a password, or no way in.

Each function: host (name.namespace.svc), user, password, certificate -> objects. Data goes with the pod.
"""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from dragoman_common.testing_certificates import Certificate
from tests.cluster.kubectl import Object
from tests.cluster.places import CLIENT_IMAGE
from tests.parts import kafka_properties
from tests.parts.kafka import cluster_id

BUCKET = "dragoman"
_USER = 65532
_CERTIFICATES = "/certificates"
_KAFKA = ["/java/bin/java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "/kafka/*:/kafka"]


def minio(host: str, user: str, password: str, certificate: Certificate) -> list[Object]:
    """An object store with a bucket, which encrypts what it is asked to."""
    files = {"public.crt": certificate.chain, "private.key": certificate.key}
    key = "dragoman:" + b64encode(secrets.token_bytes(32)).decode()
    told = {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_KMS_SECRET_KEY": key}
    return _part(
        host,
        port=9000,
        files=files,
        told=told,
        # It takes a folder for a bucket.
        before={"image": CLIENT_IMAGE, "command": ["mkdir", "-p", f"/data/objects/{BUCKET}"]},
        args=["server", "--quiet", f"--certs-dir={_CERTIFICATES}", "--address=:9000", "/data/objects"],
    )


def kafka(host: str, user: str, password: str, certificate: Certificate) -> list[Object]:
    """A broker whose clients speak SASL/SCRAM-SHA-512 over TLS."""
    properties = kafka_properties.node(
        listen=":9092", advertised=f"{host}:9092", internal_port=9093, controller_port=9094
    )
    properties |= kafka_properties.scram_over_tls(certificate.key.decode(), certificate.chain.decode())
    files = {"server.properties": kafka_properties.as_file(properties | {"log.dirs": "/data/kafka"}).encode()}
    file = f"{_CERTIFICATES}/server.properties"
    storage = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster_id(), "-c", file]
    return _part(
        host,
        port=9092,
        files=files,
        told={"SCRAM_USER": f"SCRAM-SHA-512=[name={user},password={password}]"},
        before={"command": [*_KAFKA, *storage, "--add-scram", "$(SCRAM_USER)"]},
        command=[*_KAFKA, "-Xmx512m", "kafka.Kafka", file],
    )


def postgres(host: str, user: str, password: str, certificate: Certificate) -> list[Object]:
    """A server with a database of the user's name."""
    files = {"tls.crt": certificate.chain, "tls.key": certificate.key}
    tls = {"ssl": "on", "ssl_cert_file": f"{_CERTIFICATES}/tls.crt", "ssl_key_file": f"{_CERTIFICATES}/tls.key"}
    return _part(
        host,
        port=5432,
        files=files,
        told={"POSTGRES_USER": user, "POSTGRES_PASSWORD": password},
        args=[word for name, value in tls.items() for word in ("-c", f"{name}={value}")],
    )


def _part(
    host: str,
    *,
    port: int,
    files: Mapping[str, bytes],
    told: Mapping[str, str],
    before: Object | None = None,
    **main: Any,
) -> list[Object]:
    """A Secret of files and variables, a Service, and a StatefulSet of one.

    Args:
        host: name.namespace.svc.
        port: That it serves.
        files: Below /certificates.
        told: Variables.
        before: What an init container has beside what all have.
        main: What the container itself has.
    """
    name = host.partition(".")[0]
    labels = {"app.kubernetes.io/name": f"outside-{name}"}
    image = f"localhost/dragoman-{name}:latest"
    common = {
        "imagePullPolicy": "Never",
        "env": [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": f"{name}-told", "key": key}}} for key in sorted(told)
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "files", "mountPath": _CERTIFICATES, "readOnly": True},
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    ready = {"tcpSocket": {"port": port}, "periodSeconds": 2, "failureThreshold": 60}
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [{"name": "before", "image": image, **common, **before}] if before else [],
        "containers": [{"name": name, "image": image, **common, **main, "readinessProbe": ready}],
        "volumes": [
            {"name": "files", "secret": {"secretName": f"{name}-files", "defaultMode": 0o440}},
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return [
        secret(f"{name}-files", files),
        secret(f"{name}-told", {key: value.encode() for key, value in told.items()}),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]


def secret(name: str, files: Mapping[str, bytes]) -> Object:
    """A Secret whose keys are files."""
    data = {key: b64encode(content).decode() for key, content in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
