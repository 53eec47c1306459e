# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A job as Kubernetes objects: golden files, published schemas for whatever settings, and what a pod may not do."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_launcher.contracts import spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import FINAL_EXIT_CODES, JobTerms, job_objects, stop_mark
from dragoman_launcher.jobs_url import ClusterSettings, Toleration
from dragoman_launcher.trainer_environment import Places
from services.launcher.tests import kubernetes_schemas

GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry.example/dragoman/trainer@sha256:" + "0123456789abcdef" * 4
TERMS = JobTerms(command=(), max_job_s=86_400, grace_s=10)
PLACES = Places(data_dir="/unused", launcher_target="launcher:9000", registry_target="registry:9000")
SMALL = ClusterSettings(namespace="training", image=IMAGE)
LARGE = ClusterSettings(
    namespace="training",
    image=IMAGE,
    service_account="trainer",
    cpu="8",
    memory="64Gi",
    scratch="100Gi",
    gpus=2,
    workers=4,
    data_claim="data-sets",
    ca_config_map="platform-ca",
    node_selector=(("accelerator", "h100"),),
    tolerations=(
        Toleration(key="nvidia.com/gpu", effect="NoSchedule"),
        Toleration(key="team", value="nlp", effect="NoExecute"),
    ),
    priority_class="training-low",
    queue="acme",
    deadline_s=3_600,
    ttl_s=86_400,
    backoff_limit=3,
)


def rendered(cluster, record="the record", **changes):
    job = TrainingJob.created(spec(**changes))
    return job_objects(job, cluster, TERMS, PLACES, record=record)


def manifests(cluster, **changes):
    objects = rendered(cluster, **changes)
    return [m for m in (objects.service, objects.job) if m is not None]


@pytest.mark.parametrize(("name", "cluster"), [("small", SMALL), ("large", LARGE)])
def test_objects_equal_the_golden_file(name, cluster):
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    found = [*manifests(cluster), stop_mark(spec().id, cluster)]
    text = yaml.dump_all(found, Dumper=Plain, sort_keys=False, width=110)

    # To renew after a wanted change: write the text there, and read the difference.
    assert text == (GOLDEN / f"{name}.yaml").read_text().partition("\n\n")[2]


labels = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
names = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?", fullmatch=True)
tolerations = st.builds(
    Toleration, key=labels, effect=st.sampled_from(["NoSchedule", "NoExecute"]), value=st.none() | labels | st.just("")
)
clusters = st.builds(
    ClusterSettings,
    namespace=labels,
    image=st.just(IMAGE),
    service_account=labels,
    cpu=st.sampled_from(["1", "250m", "16"]),
    cpu_request=st.sampled_from(["", "50m"]),
    memory=st.sampled_from(["512Mi", "2Ti"]),
    scratch=st.sampled_from(["1Gi", "900Gi"]),
    gpus=st.integers(0, 64),
    workers=st.integers(1, 1024),
    rendezvous_port=st.integers(1024, 65535),
    data_claim=st.just("") | labels,
    ca_config_map=st.just("") | labels,
    node_selector=st.lists(st.tuples(labels, labels), max_size=3).map(tuple),
    tolerations=st.lists(tolerations, max_size=3).map(tuple),
    priority_class=st.just("") | labels,
    queue=st.just("") | labels,
    deadline_s=st.integers(0, 518_400),
    ttl_s=st.integers(3_600, 31_536_000),
    backoff_limit=st.integers(0, 1000),
    user=st.integers(10_001, 2_147_483_647),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    cluster=clusters, tenant=names, request_id=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
)
def test_whatever_is_valid_renders_objects_of_the_published_form(cluster, tenant, request_id):
    for manifest in [*manifests(cluster, tenant=tenant, request_id=request_id), stop_mark(spec().id, cluster)]:
        for version in kubernetes_schemas.VERSIONS:
            kubernetes_schemas.check(manifest, version)
        metadata = manifest["metadata"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", metadata["name"])
        for value in metadata["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)


def test_the_schemas_refuse_a_misspelt_key():
    job = rendered(SMALL).job
    job["spec"]["backofLimit"] = 1

    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        kubernetes_schemas.check(job)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cluster=clusters)
def test_every_pod_keeps_to_the_restricted_standard(cluster):
    for job in (rendered(cluster).job, stop_mark(spec().id, cluster)):
        pod = job["spec"]["template"]["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= {"projected", "emptyDir", "persistentVolumeClaim", "configMap"}
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert requests == limits | {"cpu": cluster.cpu_request or cluster.cpu}


def test_a_pod_is_given_its_recipe_and_a_token_that_only_the_launcher_takes():
    pod = rendered(LARGE, recipe="r", effective_recipe="the recipe").job["spec"]["template"]
    (given,) = [volume["projected"] for volume in pod["spec"]["volumes"] if "projected" in volume]
    token, recipe = (source for source in given["sources"])

    assert token == {
        "serviceAccountToken": {"audience": "dragoman-launcher", "expirationSeconds": 600, "path": "pod-token"}
    }
    assert recipe["downwardAPI"]["items"] == [
        {"path": "recipe.yaml", "fieldRef": {"fieldPath": "metadata.annotations['dragoman.dev/recipe']"}}
    ]
    assert pod["metadata"]["annotations"]["dragoman.dev/recipe"] == "the recipe"


def test_one_request_has_one_name_and_no_two_share_one():
    asked = [("acme", "r1"), ("acme", "r2"), ("bolt", "r1"), ("acmer", "1"), ("acme", "R1")]
    jobs = [rendered(SMALL, tenant=tenant, request_id=request_id).job for tenant, request_id in asked]

    assert len({job["metadata"]["name"] for job in jobs}) == len(asked)
    assert rendered(SMALL, submitted_by="another").job["metadata"]["name"] == jobs[0]["metadata"]["name"]


def test_a_lost_pod_is_repeated_and_a_failed_training_is_not():
    rules = rendered(SMALL).job["spec"]["podFailurePolicy"]["rules"]

    # The order counts: an evicted trainer ends with a code of its own.
    assert [rule["action"] for rule in rules] == ["Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert rules[1]["onExitCodes"]["values"] == list(FINAL_EXIT_CODES)
    # What a trainer says that was told to stop, and what a killed one leaves: those are repeated.
    assert not {0, 3, 137, 143} & set(FINAL_EXIT_CODES)


def test_a_queue_means_suspended_and_labelled_and_a_stop_mark_never_is():
    job, mark = rendered(LARGE).job, stop_mark(spec().id, LARGE)

    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "acme"
    assert rendered(SMALL).job["spec"]["suspend"] is False
    assert "kueue.x-k8s.io/queue-name" not in mark["metadata"]["labels"]
    assert (mark["spec"]["completions"], mark["spec"]["parallelism"]) == (0, 0)


def test_the_image_starts_the_trainer_unless_a_command_is_set():
    job = TrainingJob.created(spec())
    terms = JobTerms(command=("torchrun", "-m", "dragoman_trainer"), max_job_s=60, grace_s=1)
    told = job_objects(job, SMALL, terms, PLACES, record="").job

    assert told["spec"]["template"]["spec"]["containers"][0]["command"] == list(terms.command)
    assert "command" not in rendered(SMALL).job["spec"]["template"]["spec"]["containers"][0]


def test_several_workers_find_the_first_one_by_its_name():
    objects = rendered(LARGE)
    pod = objects.job["spec"]["template"]
    env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}

    assert objects.service["spec"]["clusterIP"] == "None"
    assert objects.service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    # A pod of an Indexed Job has the host name <job>-<index>, under its subdomain.
    name = objects.job["metadata"]["name"]
    assert env["PET_MASTER_ADDR"] == f"{name}-0.{objects.service['metadata']['name']}"
    assert pod["spec"]["subdomain"] == name
    assert rendered(SMALL).service is None
