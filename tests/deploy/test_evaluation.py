# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""evaluation.enabled: what values leave empty is made, by a Job that may make that and nothing else."""

import pytest
import yaml

from dragoman_client.cluster.certificates import ensure_certificates, tell_authority
from dragoman_client.cluster.identities import ensure_identities, ensure_password, ensure_store_credentials
from dragoman_client.cluster.memory import MemoryObjects
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.clock import SystemClock
from tests.deploy import helm
from tests.deploy.test_chart import MINIMAL, controllers, pods
from tests.parts.missing import required

EVALUATION = (helm.VALUES / "evaluation.yaml",)


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


def asked(rendered):
    """(kind, name) -> keys, of the Secrets and ConfigMaps that pods name and the chart does not render."""
    found = set()
    for _, spec in pods(rendered):
        for volume in spec.get("volumes", ()):
            for source in (volume, *volume.get("projected", {}).get("sources", ())):
                if "secret" in source:
                    found.add(("Secret", source["secret"].get("secretName") or source["secret"]["name"]))
                if "configMap" in source:
                    found.add(("ConfigMap", source["configMap"]["name"]))
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                if "valueFrom" in variable:
                    found.add(("Secret", variable["valueFrom"]["secretKeyRef"]["name"]))
    return found - {(one["kind"], one["metadata"]["name"]) for one in rendered}


def makeable(rendered):
    """(kind, name) of what the hook's Role lets it make."""
    roles = [one for one in rendered if one["kind"] == "Role" and "-init" in one["metadata"]["name"]]
    kinds = {"secrets": "Secret", "configmaps": "ConfigMap"}
    return {
        (kinds[resource], name)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for name in rule["resourceNames"]
    }


def hook(rendered):
    found = [one for one in rendered if one["kind"] == "Job" and one["metadata"]["name"].endswith("-init")]
    return found[0] if found else None


def test_all_that_pods_need_is_made_and_the_role_names_that_alone():
    rendered = helm.objects(*EVALUATION)
    services = [identity for identity in keys.IDENTITIES if identity not in ("operator", "autoscaler")]
    assert {f"dragoman-key-{service}" for service in services} <= {name for _, name in asked(rendered)}
    assert asked(rendered) <= makeable(rendered)
    (role,) = [one for one in rendered if one["kind"] == "Role" and one["metadata"]["name"] == "dragoman-init"]
    assert all(rule["resourceNames"] and "*" not in rule["resourceNames"] for rule in role["rules"])
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "create", "patch"}


def test_the_role_names_what_the_command_makes(tmp_path):
    objects = MemoryObjects()
    ensure_identities(objects, "dragoman", Home(tmp_path / "home"))
    ensure_store_credentials(objects, "dragoman-store")
    ensure_password(objects, "dragoman-state")
    rendered = helm.objects(*EVALUATION)
    arguments = hook(rendered)["spec"]["template"]["spec"]["containers"][0]["args"]
    pairs = [one.removeprefix("--certificate=").partition("=") for one in arguments if one.startswith("--certificate=")]
    ensure_certificates(objects, "dragoman", {service: names.split(",") for service, _, names in pairs}, SystemClock())
    tell_authority(objects, objects, "dragoman")
    assert set(objects.held) == makeable(rendered)


def test_the_hook_runs_before_installations_and_upgrades_and_leaves_nothing_running():
    annotations = hook(helm.objects(*EVALUATION))["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("store.credentialsSecret=mine", "--store=dragoman-store"),
        ("state.passwordSecret=mine", "--state=dragoman-state"),
    ],
)
def test_nothing_is_made_for_what_a_value_names(given, option):
    rendered = helm.objects(*EVALUATION, values=(given,))
    assert option in hook(helm.objects(*EVALUATION))["spec"]["template"]["spec"]["containers"][0]["args"]
    assert option not in hook(rendered)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert ("Secret", "mine") in asked(rendered)
    assert ("Secret", option.partition("=")[2]) not in makeable(rendered) | asked(rendered)


def test_identities_are_made_all_or_none():
    refused = helm.template(*EVALUATION, values=("identity.keySecrets.worker=mine",))
    assert refused.returncode
    assert "identity.trustConfigMap is needed" in refused.stderr


def test_given_identities_need_no_hook():
    rendered = helm.objects(*MINIMAL)
    assert hook(rendered) is None
    assert makeable(rendered) == set()


def test_identities_can_be_made_without_an_evaluation(tmp_path):
    values = yaml.safe_load(MINIMAL[0].read_text())
    values["identity"] = {"generate": True}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    rendered = helm.objects(tmp_path / "values.yaml")
    assert asked(rendered) - makeable(rendered) == {("Secret", "dragoman-store"), ("Secret", "dragoman-state")}
    assert not [one for one in controllers(rendered) if one["metadata"]["name"].endswith(("-minio", "-client"))]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (("store.url=s3://b?endpoint=https://s3.example.com", "store.credentialsSecret=mine"), "minio"),
        (("events.url=kafka://k.example.com:9093", "events.saslMechanism="), "kafka"),
        (("state.url=postgresql://d@p.example.com:5432/d", "state.passwordSecret=mine"), "postgres"),
    ],
)
def test_a_part_whose_address_is_given_is_not_bundled(given, part):
    names = {one["metadata"]["name"] for one in controllers(helm.objects(*EVALUATION, values=given))}
    assert {"dragoman-minio", "dragoman-kafka", "dragoman-postgres"} - names == {f"dragoman-{part}"}


def test_without_a_storage_class_nothing_is_claimed_and_with_one_everything_is():
    def claims(*values):
        found = helm.objects(*EVALUATION, values=values)
        return {one["metadata"]["name"] for one in found if one.get("spec", {}).get("volumeClaimTemplates")}

    parts = {f"dragoman-{part}" for part in ("minio", "kafka", "postgres")}
    kept = {"dragoman-gateway", "dragoman-registry"}
    assert claims() == set()
    assert claims("storageClass=fast") == kept
    assert claims("storageClass=", "evaluation.storage=8Gi") == kept | parts
    assert claims("gateway.storageClass=fast") == {"dragoman-gateway"}


def test_the_values_of_an_evaluation_fit_twenty_lines():
    lines = [line for line in EVALUATION[0].read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 20
