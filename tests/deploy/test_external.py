# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Parts by address: the chart holds each one's certificate to the authority that is given for it."""

from base64 import b64decode

import pytest
from cryptography import x509

from tests.cluster.outside import Outside
from tests.deploy import helm
from tests.deploy.test_chart import MINIMAL, environment, workloads
from tests.deploy.test_evaluation import asked, makeable
from tests.deploy.test_tls import called
from tests.parts.missing import required

EXTERNAL = helm.ROOT / "tests/cluster/external.yaml"
EXTERNAL_KEDA = helm.ROOT / "tests/cluster/external_keda.yaml"
CA_FILE = "/etc/dragoman/state-ca/ca.pem"


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


def monitor(rendered):
    (spec,) = [
        one["spec"]["template"]["spec"] for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-monitor"
    ]
    return spec


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u@db.example.com/d", f"postgresql://u@db.example.com/d?sslrootcert={CA_FILE}"),
        (
            "postgresql://u@db.example.com/d?sslmode=verify-full",
            f"postgresql://u@db.example.com/d?sslmode=verify-full&sslrootcert={CA_FILE}",
        ),
    ],
)
def test_monitor_holds_postgresql_to_the_given_authority(url, told):
    spec = monitor(helm.objects(*MINIMAL, values=(f"state.url={url}", "state.caConfigMap=ours")))
    assert environment(spec)["DRAGOMAN_MONITOR_STATE_URL"] == told
    assert {"name": "state-ca", "configMap": {"name": "ours"}} in spec["volumes"]
    assert {"name": "state-ca", "mountPath": "/etc/dragoman/state-ca", "readOnly": True} in spec["containers"][0][
        "volumeMounts"
    ]


def test_two_authorities_for_postgresql_fail_the_rendering():
    url = "postgresql://u@db.example.com/d?sslrootcert=system"
    refused = helm.template(*MINIMAL, values=(f"state.url={url}", "state.caConfigMap=ours"))
    assert refused.returncode
    assert "state.url cannot name another" in refused.stderr


def test_bundled_postgresql_has_no_authority():
    spec = monitor(helm.objects(helm.VALUES / "evaluation.yaml", values=("state.caConfigMap=ours",)))
    assert "sslrootcert" not in environment(spec)["DRAGOMAN_MONITOR_STATE_URL"]
    assert "state-ca" not in {one["name"] for one in spec["volumes"]}


def test_external_parts_and_given_certificates_leave_only_identities_to_the_hook():
    rendered = helm.objects(EXTERNAL)
    (hook,) = [one for one in rendered if one["kind"] == "Job"]
    arguments = hook["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--identities" in arguments
    assert [one for one in arguments if one.startswith(("--certificate", "--store", "--state", "--authority"))] == []
    kept = {one["metadata"]["name"].partition("-")[2] for one in rendered if one["kind"] == "StatefulSet"}
    assert kept.isdisjoint({"minio", "kafka", "postgres"})
    assert [one["spec"]["maxReplicas"] for one in rendered if one["kind"] == "HorizontalPodAutoscaler"] == [2]


def test_what_the_cluster_s_tests_give_is_all_that_is_asked_and_holds_every_name_that_is_called():
    rendered = helm.objects(EXTERNAL, EXTERNAL_KEDA)
    outside = Outside(namespace="parts")
    certificates = outside.certificates(helm.NAMESPACE)
    given = {(one["kind"], one["metadata"]["name"]) for one in (*outside.credentials(), *certificates)}
    # KEDA reads its own, by the TriggerAuthentication.
    assert asked(rendered) - makeable(rendered) == given - {("Secret", "tls-keda")}
    names = set()
    for one in certificates:
        certificate = x509.load_pem_x509_certificate(b64decode(one["data"]["tls.crt"]))
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names |= set(held.get_values_for_type(x509.DNSName))
        # As a company's authority issues them: no name of ours.
        assert held.get_values_for_type(x509.UniformResourceIdentifier) == []
    assert called(rendered) <= names
