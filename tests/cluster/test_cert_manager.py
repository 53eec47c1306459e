# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Certificates by a real cert-manager: issued, used by every service and by KEDA, renewed under load.

In a namespace of its own, whatever the folder's other tests have installed.
"""

import json
import ssl
import time
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster.external import answers
from tests.cluster.installation import Installation, known_rows
from tests.cluster.kubectl import Kubectl, Object, until
from tests.cluster.load import Load
from tests.cluster.neighbours import beside, cert_manager
from tests.cluster.places import VALUES, namespace
from tests.faults.figures import note

pytestmark = pytest.mark.slow

NAMESPACE = "dragoman-test-certificates"
VALUES_CERTIFICATES = Path(__file__).with_name("certificates.yaml")
GROUP = "cert-manager.io"
AUTHORITY = "dragoman-authority"
SERVICES = ("gateway", "tokenizer", "registry", "worker", "launcher", "monitor", "autoscaler", "keda")
LISTENING = {
    "gateway": "dragoman",
    "tokenizer": "dragoman-tokenizer",
    "registry": "dragoman-registry",
    "worker": "dragoman-worker-cpu",
    "launcher": "dragoman-launcher",
    "monitor": "dragoman-monitor",
    "autoscaler": "dragoman-autoscaler",
}
"""The Service of each; KEDA's certificate is a client's."""
MAX_RENEWAL_S = 180.0
"""For the kubelet to show the new files, which takes it up to a minute and a half, and for the service to read them."""


def authority() -> list[Object]:
    """One's own, as cert-manager's manual has it: signed by itself, and an Issuer that signs with it."""

    def made(kind: str, name: str, spec: Object) -> Object:
        return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    return [
        made("Issuer", "self-signed", {"selfSigned": {}}),
        made(
            "Certificate",
            AUTHORITY,
            {
                "isCA": True,
                "commonName": AUTHORITY,
                "secretName": AUTHORITY,
                "privateKey": {"algorithm": "ECDSA", "size": 256},
                "issuerRef": {"name": "self-signed", "kind": "Issuer", "group": GROUP},
            },
        ),
        made("Issuer", AUTHORITY, {"ca": {"secretName": AUTHORITY}}),
    ]


@pytest.fixture(scope="module")
def kubectl(kubeconfig, load_images):
    """Of a namespace with an authority, and what trainers need of it."""
    ours = Kubectl(kubeconfig, NAMESPACE)
    with beside(ours, cert_manager, GROUP, load_images):
        ours.apply(namespace(NAMESPACE))
        try:
            # Its webhook answers a moment after it is ready.
            until(lambda: ours.apply(*authority()) is None, "an Issuer taken", limit_s=60)
            public = until(lambda: secret(ours, AUTHORITY)["ca.crt"], "the authority", limit_s=60)
            ours.run("create", "configmap", AUTHORITY, f"--from-literal=ca.crt={public.decode()}")
            yield ours
        finally:
            ours.run("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=300)


@pytest.fixture(scope="module")
def installation(kubectl):
    if not kubectl.run("api-resources", "--api-group=keda.sh", "--output=name").strip():
        pytest.skip("this cluster has no KEDA")
    made = Installation(kubectl)
    made.install(VALUES, VALUES_CERTIFICATES)
    yield made
    made.uninstall()


def secret(kubectl: Kubectl, name: str) -> dict[str, bytes]:
    return {key: b64decode(value) for key, value in kubectl.get("secret", name)["data"].items()}


def certificate(kubectl: Kubectl, service: str) -> Object:
    return kubectl.get("certificate", f"dragoman-{service}")


def issued(kubectl: Kubectl, service: str) -> x509.Certificate:
    """What is in the Secret."""
    return x509.load_pem_x509_certificate(secret(kubectl, f"dragoman-tls-{service}")["tls.crt"])


def runs(kubectl: Kubectl) -> dict[str, int]:
    """How often each pod's containers have begun again, by the pod's uid."""
    return {
        pod["metadata"]["uid"]: sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
        for pod in kubectl.pods()
    }


def shown_serial(kubectl: Kubectl, service: str) -> int:
    """Of what the service shows to who connects."""
    with kubectl.forward(f"service/{LISTENING[service]}", 9000) as address:
        host, port = address.split(":")
        found = ssl.get_server_certificate((host, int(port)), timeout=10)
    return x509.load_pem_x509_certificate(found.encode()).serial_number


def renew(kubectl: Kubectl, service: str) -> None:
    """Ask for a renewal as cert-manager's own command does."""
    condition = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "renewed by a test",
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    kubectl.run(
        "patch",
        "certificate",
        f"dragoman-{service}",
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps({'status': {'conditions': [condition]}})}",
    )


def test_every_service_answers_with_a_certificate_of_the_issuer_and_the_sample_is_answered_right(kubectl, installation):
    assert "20 of 20 right" in installation.sample_log()
    assert answers(installation) == [label for _, label in known_rows()]
    for service in SERVICES:
        found = issued(kubectl, service)
        uris = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert uris.get_values_for_type(x509.UniformResourceIdentifier) == [f"dragoman:identity/{service}"]
    for service in LISTENING:
        assert shown_serial(kubectl, service) == issued(kubectl, service).serial_number
    note(f"cert-manager: install to 20 right answers in {installation.seconds_to_sample:.0f} s")


def test_keda_is_known_by_its_certificate_and_scales_on_what_the_autoscaler_says(kubectl, installation):
    def kinds() -> set[str]:
        found = kubectl.get("horizontalpodautoscalers")["items"]
        return {one["type"] for one in found[0]["status"].get("currentMetrics") or []} if found else set()

    until(lambda: "External" in kinds(), "figures of the autoscaler", limit_s=180)


def test_servers_take_up_certificates_renewed_under_load_without_a_restart_and_without_a_failed_call(
    kubectl, installation
):
    before = {service: issued(kubectl, service).serial_number for service in SERVICES}
    pods = runs(kubectl)
    began_s = time.monotonic()
    with Load(kubectl) as load:
        for service in SERVICES:
            renew(kubectl, service)
        until(
            lambda: all(issued(kubectl, service).serial_number != before[service] for service in SERVICES),
            "new certificates",
            limit_s=60,
        )
        for service in LISTENING:
            until(
                lambda service=service: shown_serial(kubectl, service) == issued(kubectl, service).serial_number,
                f"the new certificate of the {service}",
                limit_s=MAX_RENEWAL_S,
                every_s=2,
            )
        taken_up_s = time.monotonic() - began_s
        outcome = load.end()
    note(f"cert-manager: {len(SERVICES)} certificates renewed, shown within {taken_up_s:.0f} s; {outcome}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    # The load may have got a worker more.
    assert pods.items() <= runs(kubectl).items()
    assert answers(installation) == [label for _, label in known_rows()]
