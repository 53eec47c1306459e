# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""k8s/: what a cluster's administrator makes holds, and fits what the chart and the launcher ask of it."""

import shutil
import subprocess

import pytest
import yaml

from dragoman_launcher.cluster_logs import PART_BYTES
from dragoman_launcher.contracts import spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import JobTerms, job_objects
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.trainer_environment import Places
from dragoman_trainer.recipe import parse_recipe
from tests.deploy import helm, kubernetes_types
from tests.deploy.test_chart import SETS, environment, pods, workloads
from tests.deploy.test_objects import own
from tests.parts.missing import MissingPartError, missing, required

FOLDER = helm.ROOT / "k8s"


def built(name):
    """What `kubectl kustomize` makes of a folder; asks no cluster."""
    if shutil.which("kubectl") is None:
        missing("kubectl", MissingPartError("it is not on PATH"))
    command = ["kubectl", "kustomize", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(name):
    return [one for one in yaml.safe_load_all(built(name)) if one]


def by_kind(name, kind):
    return [one for one in objects(name) if one["kind"] == kind]


@pytest.mark.parametrize("name", ["", "sample"])
def test_every_object_holds_for_kubernetes_own_types(name):
    required("kubernetes-types", kubernetes_types.binary)
    assert kubernetes_types.problems(own(built(name))) == []


def test_every_namespace_enforces_podsecurity_restricted():
    namespaces = by_kind("", "Namespace")
    assert {one["metadata"]["name"] for one in namespaces} == {"models", "training"}
    assert {one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for one in namespaces} == {"restricted"}


def test_whatever_is_in_a_namespace_is_in_one_that_is_made_here():
    made = {one["metadata"]["name"] for one in by_kind("", "Namespace")}
    for name in ("", "kueue", "sample"):
        for one in objects(name):
            assert one["metadata"].get("namespace", "models") in made, one["metadata"]["name"]


def test_the_production_values_name_what_is_there():
    values = yaml.safe_load((helm.VALUES / "production.yaml").read_text())
    trainer = values["launcher"]["trainer"]
    assert values["launcher"]["trainingNamespace"] in {one["metadata"]["name"] for one in by_kind("", "Namespace")}
    assert trainer["queue"] in {one["metadata"]["name"] for one in by_kind("kueue", "LocalQueue")}
    classes = {one["metadata"]["name"] for one in by_kind("", "PriorityClass")}
    assert {trainer["priorityClass"], values["priorityClass"]} == classes


def test_what_jobs_keep_in_the_cluster_leaves_room_in_etcd():
    # By default etcd has 2 GiB; the versions of what is written now, and all else, need some of it.
    quotas = yaml.safe_load_all((FOLDER / "quotas.yaml").read_text())
    (quota,) = [one for one in quotas if one["metadata"]["namespace"] == "training"]
    assert int(quota["spec"]["hard"]["count/configmaps"]) * PART_BYTES < 0.75 * 2 * 2**30


def test_serving_takes_the_place_of_training_and_never_the_other_way():
    classes = {one["metadata"]["name"]: one for one in by_kind("", "PriorityClass")}
    assert classes["dragoman-serving"]["value"] > classes["dragoman-training"]["value"]
    assert classes["dragoman-training"]["preemptionPolicy"] == "Never"


def test_quotas_hold_a_release_of_the_production_values():
    required("helm", helm.binary)
    (quota,) = [one for one in by_kind("", "ResourceQuota") if one["metadata"]["namespace"] == "models"]
    rendered = helm.objects(*SETS["production"])
    most = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["maxReplicas"]
        for one in rendered
        if one["kind"] == "HorizontalPodAutoscaler"
    }
    cpus = sum(
        cpus_of(one["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        * one["spec"].get("replicas", most.get(one["metadata"]["name"]))
        for one in workloads(rendered)
    )
    assert 10 < cpus < cpus_of(quota["spec"]["hard"]["requests.cpu"])


def cpus_of(quantity):
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def test_kueue_s_quota_is_within_the_namespace_s():
    (queue,) = by_kind("kueue", "ClusterQueue")
    (quota,) = [one for one in by_kind("", "ResourceQuota") if one["metadata"]["namespace"] == "training"]
    nominal = {
        one["name"]: one["nominalQuota"] for one in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    }
    assert nominal == {name: quota["spec"]["hard"][f"requests.{name}"] for name in nominal}


def test_kueue_s_quota_covers_each_resource_that_a_trainer_asks_for():
    # Kueue admits no job that asks for another one.
    cluster = ClusterSettings(namespace="training", image=f"trainer@sha256:{'0' * 64}", gpus=1)
    places = Places(data_dir="/unused", launcher_target="launcher:9000", registry_target="registry:9000")
    terms = JobTerms(command=(), max_job_s=60, grace_s=10)
    job = job_objects(TrainingJob.created(spec()), cluster, terms, places, record="").job
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (queue,) = by_kind("kueue", "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    # What has no request has its limit for one.
    asked = container["resources"].get("requests", {}).keys() | container["resources"]["limits"].keys()
    assert asked == set(group["coveredResources"])


def test_trainers_are_who_the_network_policy_opens_the_way_for():
    policies = {one["metadata"]["name"]: one["spec"] for one in by_kind("", "NetworkPolicy")}
    assert policies["trainers"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "dragoman-trainer"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_the_sample_s_recipe_is_one_and_its_data_are_in_the_store():
    (config,) = by_kind("sample", "ConfigMap")
    recipe = parse_recipe(config["data"]["recipe.yaml"], file="recipe.yaml")
    assert recipe.data.stored.name == "urgency"
    assert "dragoman data put urgency" in config["data"]["train.sh"]


def test_the_sample_job_calls_the_services_that_a_release_has_as_a_pod_of_the_chart_does():
    required("helm", helm.binary)
    (job,) = by_kind("sample", "Job")
    spec = job["spec"]["template"]["spec"]
    rendered = helm.objects(*SETS["evaluation"])
    (client,) = [spec for name, spec in pods(rendered) if name == "dragoman-client"]
    named = {entry.partition("=")[0]: entry for entry in environment(spec)["DRAGOMAN_SERVICES"].split(",")}
    assert named == {entry.partition("=")[0]: entry for entry in environment(client)["DRAGOMAN_SERVICES"].split(",")}
    assert spec["securityContext"].items() <= client["securityContext"].items()
    assert spec["containers"][0]["securityContext"] == client["containers"][0]["securityContext"]
