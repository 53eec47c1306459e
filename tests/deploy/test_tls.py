# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""TLS: every service has a certificate for every name that it is called by, however it comes."""

import pytest

from dragoman_launcher.jobs_url import parse_jobs_url
from tests.deploy import helm
from tests.deploy.test_chart import MINIMAL, SETS, environment, pods, workloads
from tests.deploy.test_evaluation import asked, hook, makeable
from tests.parts.missing import required

CERT_MANAGER = ("tls.mode=certManager", "tls.issuer.name=ours")
SERVICES = ("gateway", "tokenizer", "registry", "worker", "launcher", "monitor")
GIVEN = ("tls.mode=secrets", *(f"tls.secrets.{service}=given-{service}" for service in SERVICES))


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


def called(rendered):
    """Host names that any service's settings call, and the one that users call."""
    return {f"dragoman.{helm.NAMESPACE}.svc"} | {
        entry.rpartition("=")[2].partition(":")[0]
        for _, spec in pods(rendered)
        for variable, value in environment(spec).items()
        if variable.endswith(("_TARGET", "_TARGETS", "_POOLS"))
        for entry in value.split(",")
    }


def issued(rendered):
    """service -> names of its certificate, of the hook or of cert-manager."""
    job = hook(rendered)
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"] if job else []
    found = {}
    for argument in arguments:
        if argument.startswith("--certificate="):
            service, _, names = argument.removeprefix("--certificate=").partition("=")
            found[service] = names.split(",") if names else []
    for one in rendered:
        if one["kind"] == "Certificate":
            (uri,) = one["spec"]["uris"]
            found[uri.removeprefix("dragoman:identity/")] = one["spec"].get("dnsNames", [])
    return found


@pytest.mark.parametrize("given", [("tls.mode=generated",), (*CERT_MANAGER, "launcher.trainer.caConfigMap=ours")])
def test_every_name_that_is_called_is_in_a_certificate(given):
    rendered = helm.objects(*SETS["scaled"], values=given)
    names = {name for held in issued(rendered).values() for name in held}
    assert called(rendered) <= names
    assert set(issued(rendered)) == {*SERVICES, "autoscaler", "keda"}


@pytest.mark.parametrize("given", [("tls.mode=generated",), CERT_MANAGER, GIVEN])
def test_probes_go_where_no_tls_is_and_calls_go_where_it_is(given):
    for workload in workloads(helm.objects(*MINIMAL, values=given)):
        container = workload["spec"]["template"]["spec"]["containers"][0]
        told = environment(workload["spec"]["template"]["spec"])
        prefix = f"DRAGOMAN_{container['name'].upper()}_"
        assert told[f"{prefix}HEALTH_LISTEN"] == "0.0.0.0:9001"
        assert {container[probe]["grpc"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
            9001
        }
        assert {"name": "health", "containerPort": 9001} in container["ports"]
        assert {f"{prefix}TLS_CERT_FILE", f"{prefix}TLS_KEY_FILE", f"{prefix}TLS_CA_FILE"} <= set(told)


def test_without_tls_nothing_is_said_of_it():
    rendered = helm.objects(*MINIMAL)
    assert not [name for _, spec in pods(rendered) for name in environment(spec) if "TLS_C" in name or "HEALTH" in name]
    assert issued(rendered) == {}


def test_given_secrets_are_mounted_and_nothing_is_made():
    rendered = helm.objects(*MINIMAL, values=GIVEN)
    assert {("Secret", f"given-{service}") for service in SERVICES} <= asked(rendered)
    assert hook(rendered) is None
    assert issued(rendered) == {}


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_that_is_not_given_fails_the_rendering_by_name(service):
    refused = helm.template(*MINIMAL, values=(*GIVEN, f"tls.secrets.{service}="))
    assert refused.returncode
    assert f"tls.secrets.{service} is needed" in refused.stderr


def test_an_issuer_is_needed_by_name():
    refused = helm.template(*MINIMAL, values=("tls.mode=certManager",))
    assert "tls.issuer.name is needed" in refused.stderr


def test_made_certificates_are_what_pods_mount():
    rendered = helm.objects(*MINIMAL, values=("tls.mode=generated",))
    made = {(kind, name) for kind, name in makeable(rendered) if "-tls-" in name}
    assert made == {pair for pair in asked(rendered) if "-tls-" in pair[1]}
    assert ("Secret", "dragoman-ca") in makeable(rendered) - asked(rendered)


def test_jobs_are_told_whom_to_trust():
    def jobs_url(rendered):
        (launcher,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-launcher"]
        return parse_jobs_url(environment(launcher["spec"]["template"]["spec"])["DRAGOMAN_LAUNCHER_JOBS_URL"])

    rendered = helm.objects(*SETS["production"], values=("tls.mode=generated",))
    assert jobs_url(rendered).ca_config_map == "dragoman-ca"
    assert "--authority-in=training" in hook(rendered)["spec"]["template"]["spec"]["containers"][0]["args"]
    (role,) = [
        one for one in rendered if one["metadata"]["name"] == "dragoman-init-authority" and one["kind"] == "Role"
    ]
    assert (role["metadata"]["namespace"], role["rules"][0]["resourceNames"]) == ("training", ["dragoman-ca"])
    refused = helm.template(*SETS["production"], values=CERT_MANAGER)
    assert "launcher.trainer.caConfigMap is needed" in refused.stderr
    rendered = helm.objects(*SETS["production"], values=(*CERT_MANAGER, "launcher.trainer.caConfigMap=ours"))
    assert jobs_url(rendered).ca_config_map == "ours"
    assert jobs_url(helm.objects(*SETS["production"])).ca_config_map == ""


def test_the_gateway_s_certificate_takes_more_names():
    rendered = helm.objects(*MINIMAL, values=("tls.mode=generated", "tls.gatewayNames={models.example.com}"))
    assert "models.example.com" in issued(rendered)["gateway"]
    assert "models.example.com" not in issued(rendered)["registry"]
