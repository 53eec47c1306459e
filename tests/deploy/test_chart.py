# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The chart as Helm renders it: every container's settings load, every name leads somewhere, every pod is bounded."""

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from base64 import b64decode

import pytest
import yaml

from dragoman_client.cluster.certificates import ensure_certificates
from dragoman_client.cluster.memory import MemoryObjects
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.clock import SystemClock
from dragoman_common.settings import SettingsError, parse
from dragoman_launcher.jobs_url import parse_jobs_url
from tests.deploy import helm
from tests.parts.missing import required

SETTINGS = {
    "gateway": "Settings",
    "tokenizer": "Settings",
    "registry": "RegistrySettings",
    "worker": "WorkerSettings",
    "launcher": "LauncherSettings",
    "monitor": "Settings",
    "autoscaler": "Settings",
}
MINIMAL = (helm.VALUES / "minimal.yaml",)
SETS = {
    "minimal": MINIMAL,
    "small": (*MINIMAL, helm.VALUES / "small.yaml"),
    "production": (*MINIMAL, helm.VALUES / "production.yaml"),
    "evaluation": (helm.VALUES / "evaluation.yaml",),
    "scaled": (helm.VALUES / "evaluation.yaml", helm.VALUES / "scaled.yaml"),
    "external": (helm.ROOT / "tests/cluster/external.yaml",),
}
NEEDED = [
    "store.url",
    "store.credentialsSecret",
    "events.url",
    "state.url",
    "state.passwordSecret",
    "identity.trustConfigMap",
    "identity.signingKeySecret",
    "identity.userIssuer",
    *(f"identity.keySecrets.{service}" for service in SETTINGS if service != "autoscaler"),
]
FREE = ("settings", "digests", "nodeSelector", "labels", "dashboardLabels")


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


@pytest.fixture(scope="module", params=SETS, name="rendered")
def _rendered(request):
    return helm.objects(*SETS[request.param])


def controllers(rendered):
    """Whatever keeps pods: services, and an evaluation's parts and tools."""
    return [one for one in rendered if one["kind"] in ("Deployment", "StatefulSet")]


def workloads(rendered):
    """The services."""
    return [
        one for one in controllers(rendered) if one["spec"]["template"]["spec"]["containers"][0]["name"] in SETTINGS
    ]


def pods(rendered):
    kept = [one for one in rendered if one["kind"] in ("Deployment", "StatefulSet", "Job")]
    return [(one["metadata"]["name"], one["spec"]["template"]["spec"]) for one in kept] + [
        (one["metadata"]["name"], one["spec"]) for one in rendered if one["kind"] == "Pod"
    ]


def environment(spec):
    return {variable["name"]: variable.get("value", "") for variable in spec["containers"][0].get("env", ())}


def settings_of(workload, folder):
    """The service's own settings, from the container's environment; a file that they read lies in the test's folder."""
    container = workload["spec"]["template"]["spec"]["containers"][0]
    service = container["name"]
    kind = getattr(importlib.import_module(f"dragoman_{service}.settings"), SETTINGS[service])
    there = {"/etc/dragoman/state/password": str(folder / "password"), "/etc/dragoman/tls": str(folder / "tls")}
    given = {}
    for name, value in environment(workload["spec"]["template"]["spec"]).items():
        for mounted, place in there.items():
            value = value.replace(mounted, place)  # noqa: PLW2901 - each place in turn
        given[name] = value
    return parse(kind, given, prefix=f"DRAGOMAN_{service.upper()}_")


@pytest.fixture(name="folder")
def _folder(tmp_path):
    (tmp_path / "password").write_text("not a real one\n")
    made = MemoryObjects()
    ensure_certificates(made, "d", {"any": ["localhost"]}, SystemClock())
    (tmp_path / "tls").mkdir()
    for name, content in made.held["Secret", "d-tls-any"].items():
        (tmp_path / "tls" / name).touch(mode=0o600)
        (tmp_path / "tls" / name).write_bytes(content)
    return tmp_path


def test_every_container_s_environment_is_its_service_s_settings(rendered, folder):
    services = set()
    for workload in workloads(rendered):
        loaded = settings_of(workload, folder)
        assert loaded.server.listen == "0.0.0.0:9000"
        services.add(workload["spec"]["template"]["spec"]["containers"][0]["name"])
    is_scaled = any(one["kind"] == "ScaledObject" for one in rendered)
    assert services == set(SETTINGS) - (set() if is_scaled else {"autoscaler"})


def test_a_setting_that_a_service_does_not_have_is_found_by_that_test(folder):
    rendered = helm.objects(*MINIMAL, values=("tokenizer.settings.NUM_TREADS=many",))
    (tokenizer,) = [one for one in workloads(rendered) if one["metadata"]["name"].endswith("-tokenizer")]
    with pytest.raises(SettingsError, match="NUM_TREADS"):
        settings_of(tokenizer, folder)


def test_a_setting_that_the_chart_owns_cannot_be_set_beside_it():
    refused = helm.template(*MINIMAL, values=("gateway.settings.LISTEN=0.0.0.0:1",))
    assert refused.returncode
    assert "gateway.settings.LISTEN" in refused.stderr


def test_every_file_and_folder_that_a_setting_names_is_mounted(rendered):
    for name, spec in pods(rendered):
        mounts = {mount["mountPath"]: mount for mount in spec["containers"][0].get("volumeMounts", ())}
        for variable, value in environment(spec).items():
            if value.startswith("/") and variable.startswith("DRAGOMAN_"):
                (mount,) = [
                    path for path in mounts if f"{value}/".startswith(f"{path}/") or path.startswith(f"{value}/")
                ]
                is_written = variable.endswith(("_FOLDER", "_DIR", "_CACHE"))
                assert bool(mounts[mount].get("readOnly")) is not is_written, (name, variable)
        claims = [
            claim["metadata"]["name"]
            for one in controllers(rendered)
            if one["metadata"]["name"] == name
            for claim in one["spec"].get("volumeClaimTemplates", ())
        ]
        volumes = [volume["name"] for volume in spec.get("volumes", ())]
        assert sorted(mount["name"] for mount in mounts.values()) == sorted(volumes + claims)


def test_every_target_is_a_service_with_pods_behind_it_and_an_open_way_there(rendered):
    services = {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "Service"}
    labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in controllers(rendered)}
    policies = [one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"]

    def selected(selector, name):
        have = labels[name]
        return selector.get("matchLabels", {}).items() <= have.items() and not any(
            have.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ())
        )

    def is_open(direction, peers, at, other):
        return any(
            {"port": 9000} in rule["ports"]
            and any(selected(peer["podSelector"], other) for peer in rule[peers] if peer.keys() == {"podSelector"})
            for policy in policies
            if selected(policy["podSelector"], at)
            for rule in policy.get(direction, ())
            if peers in rule
        )

    edges = set()
    for workload in workloads(rendered):
        caller = workload["metadata"]["name"]
        for variable, value in environment(workload["spec"]["template"]["spec"]).items():
            if not variable.endswith(("_TARGET", "_TARGETS", "_POOLS")) or variable.endswith("ADVERTISED_TARGET"):
                continue
            for target in value.split(","):
                host, _, port = target.rpartition("=")[2].partition(":")
                name, namespace, _ = host.split(".")
                assert (namespace, port) == (helm.NAMESPACE, "9000")
                (callee,) = [one for one in labels if selected({"matchLabels": services[name]["selector"]}, one)]
                assert is_open("egress", "to", caller, callee), (caller, callee)
                assert is_open("ingress", "from", callee, caller), (caller, callee)
                edges.add((caller, callee))
    assert len(edges) >= 6
    # And no way that nobody needs: the monitor takes no service's calls.
    others = set(labels) - {"dragoman-client"}
    assert not any(is_open("ingress", "from", "dragoman-monitor", other) for other in others)


def test_every_pod_is_what_podsecurity_restricted_asks_for(rendered):
    for name, spec in pods(rendered):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 65532, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}, name
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"]["cpu"], name
            assert container["resources"]["limits"]["memory"], name


def test_no_pod_is_told_of_services_by_variables_that_its_service_would_refuse(rendered):
    assert [name for name, spec in pods(rendered) if spec["enableServiceLinks"] is not False] == []


def test_only_a_launcher_with_a_training_namespace_gets_a_token_and_rights(rendered):
    tokens = {name for name, spec in pods(rendered) if spec["automountServiceAccountToken"] is not False}
    roles = [one for one in rendered if one["kind"] == "Role" and one["metadata"]["name"].endswith("-launcher")]
    rules = [rule for one in roles for rule in one["rules"]]
    tokens -= {"dragoman-init", "dragoman-rescale-1"}
    if tokens:
        assert tokens == {"dragoman-launcher"}
        rights = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
        assert set(rights) == {"jobs", "pods", "pods/log", "services", "configmaps", "leases"}
        # What a job left is kept, whoever asks; and the only Lease that it may change is its own.
        assert "delete" not in rights["configmaps"] | rights["leases"]
        assert [
            rule.get("resourceNames") for rule in rules if "update" in rule["verbs"] and "leases" in rule["resources"]
        ] == [["dragoman-launcher"]]
        assert {one["metadata"]["namespace"] for one in roles} <= {"training", "dragoman-test-training", helm.NAMESPACE}
    else:
        assert rules == []
    assert not [one for one in rendered if one["kind"].startswith("Cluster") or one["kind"] == "Secret"]


def test_a_launcher_is_two_where_jobs_are_kept_in_the_cluster_and_one_with_a_claim_elsewhere():
    def launcher(*values):
        found = workloads(helm.objects(*SETS["production"], values=values))
        (one,) = [one for one in found if one["metadata"]["name"] == "dragoman-launcher"]
        return one["kind"], one["spec"]["replicas"], "volumeClaimTemplates" in one["spec"]

    assert launcher() == ("Deployment", 2, False)
    assert launcher("launcher.replicas=3") == ("Deployment", 3, False)
    assert launcher("launcher.trainingNamespace=") == ("StatefulSet", 1, True)


def test_pods_are_given_longer_than_the_deadline_to_end(rendered, folder):
    for workload in workloads(rendered):
        spec, loaded = workload["spec"]["template"]["spec"], settings_of(workload, folder).server
        pause_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert loaded.drain_grace_ms > loaded.default_deadline_ms
        assert spec["terminationGracePeriodSeconds"] > pause_s + loaded.drain_grace_ms / 1e3


def test_what_may_have_two_replicas_has_a_disruption_budget_and_what_has_one_has_none(rendered):
    ceilings = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"].get("maxReplicas", one["spec"].get("maxReplicaCount"))
        for one in rendered
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    }
    many = {
        one["metadata"]["name"]
        for one in workloads(rendered)
        if one["spec"].get("replicas", ceilings.get(one["metadata"]["name"])) > 1
    }
    assert {one["metadata"]["name"] for one in rendered if one["kind"] == "PodDisruptionBudget"} == many


def test_a_pool_that_grows_is_scaled_by_its_hpa_alone():
    rendered = helm.objects(*SETS["production"])
    (hpa,) = [one for one in rendered if one["kind"] == "HorizontalPodAutoscaler"]
    (pool,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-worker-linear"]
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 8)
    # Helm would set the replicas back at every upgrade.
    assert "replicas" not in pool["spec"]
    (gpu,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-worker-gpu"]
    container = gpu["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"] == "localhost/dragoman-worker-torch:0.1.0"


def test_only_workers_that_were_given_a_gpu_are_held_to_it_unless_a_device_is_set(tmp_path):
    linear, gpu = yaml.safe_load(SETS["production"][-1].read_text())["pools"]
    given = tmp_path / "pools.yaml"
    given.write_text(yaml.safe_dump({"pools": [linear, gpu, gpu | {"name": "torch", "gpu": 0}]}))

    def devices(*values):
        rendered = helm.objects(*SETS["production"], given, values=values)
        named = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in workloads(rendered)}
        return [
            environment(named[f"dragoman-worker-{pool}"]).get("DRAGOMAN_WORKER_DEVICE")
            for pool in ("linear", "gpu", "torch")
        ]

    assert devices() == [None, "cuda", None]
    assert devices("worker.settings.DEVICE=cpu") == ["cpu", "cpu", "cpu"]


def test_the_launcher_leaves_it_to_the_cluster_how_many_jobs_run(folder):
    def most(**launcher):
        given = folder / "launcher.yaml"
        given.write_text(yaml.safe_dump({"launcher": launcher}))
        rendered = helm.objects(*SETS["production"], given)
        (launcher,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-launcher"]
        return settings_of(launcher, folder).max_running

    assert most() == 100
    assert most(settings={"MAX_RUNNING": "2"}) == 2
    # Processes of the launcher's own pod share its CPU.
    assert most(trainingNamespace="") == 1


def test_jobs_run_where_the_values_say(folder):
    def jobs_url(**given):
        values = tuple(f"launcher.{name}={value}" for name, value in given.items())
        rendered = helm.objects(*SETS["production"], values=values)
        (launcher,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-launcher"]
        return parse_jobs_url(settings_of(launcher, folder).jobs_url)

    cluster = jobs_url()
    assert (cluster.namespace, cluster.gpus, cluster.memory, cluster.queue) == ("training", 1, "16Gi", "training")
    assert cluster.image == "localhost/dragoman-trainer-torch:0.1.0"
    assert jobs_url(trainingNamespace="") is None


def test_a_trainer_s_digest_is_what_the_launcher_is_held_to(folder):
    digest = f"sha256:{'b' * 64}"
    rendered = helm.objects(*SETS["production"], values=(f"image.digests.trainer-torch={digest}",))
    (launcher,) = [one for one in workloads(rendered) if one["metadata"]["name"] == "dragoman-launcher"]
    cluster = parse_jobs_url(settings_of(launcher, folder).jobs_url)
    assert (cluster.image, cluster.allow_tag) == (f"localhost/dragoman-trainer-torch@{digest}", False)


def test_a_digest_wins_over_the_tag():
    digest = f"sha256:{'a' * 64}"
    rendered = helm.objects(*MINIMAL, values=(f"image.digests.registry={digest}",))
    images = {spec["containers"][0]["image"] for _, spec in pods(rendered)}
    assert f"localhost/dragoman-registry@{digest}" in images


def test_every_image_that_the_chart_runs_is_one_that_is_built():
    spec = importlib.util.spec_from_file_location("image_locks", helm.ROOT / "deploy/images/locks.py")
    locks = importlib.util.module_from_spec(spec)
    sys.modules["image_locks"] = locks
    spec.loader.exec_module(locks)
    built = {image.name for image in locks.IMAGES}
    used = {
        re.fullmatch(r"localhost/dragoman-([a-z-]+):0\.1\.0", spec["containers"][0]["image"])[1]
        for name in ("minimal", "production", "scaled")
        for pod, spec in pods(helm.objects(*SETS[name]))
        if not pod.endswith(("-minio", "-kafka", "-postgres"))
    }
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    assert built == set(schema["properties"]["image"]["properties"]["digests"]["properties"])
    # The trainer's are in the launcher's setting.
    assert built - used == {"trainer-lite", "trainer-torch"}


@pytest.mark.parametrize("path", NEEDED)
def test_what_is_needed_and_not_given_fails_the_rendering_by_name(path):
    refused = helm.template(*MINIMAL, values=(f"{path}=",))
    assert refused.returncode
    assert path in refused.stderr


def test_a_mechanism_without_credentials_fails_the_rendering():
    refused = helm.template(*MINIMAL, values=("events.tls=true", "events.saslMechanism=PLAIN"))
    assert "events.credentialsSecret" in refused.stderr
    assert refused.returncode


def misspelt(values, path=""):
    """Every name of the values with a letter added, nested as it was; and where each is."""
    changed, places = {}, []
    for name, value in values.items():
        at = f"{path}/{name}"
        if isinstance(value, dict) and value and name not in FREE:
            changed[name], below = misspelt(value, at)
            places += below
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            inner, below = misspelt(value[0], f"{at}/0")
            changed[name] = [inner]
            places += below
        changed[f"{name}x"] = value
        places.append((path, f"{name}x"))
    return changed, places


def test_a_misspelt_name_is_refused_wherever_it_stands(tmp_path):
    values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    changed, places = misspelt(values)
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(changed))
    refused = helm.template(*MINIMAL, tmp_path / "values.yaml")
    assert refused.returncode
    problems = [line for line in refused.stderr.splitlines() if "additional" in line]
    found = set(re.findall(r"'([\w-]+)'", " ".join(problems)))
    assert {name for _, name in places} <= found
    assert len(places) > 80


def test_the_schema_names_every_value_and_nothing_that_is_none():
    schema = json.loads((helm.CHART / "values.schema.json").read_text())

    def compare(values, described, path):
        described = schema["$defs"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described
        if (
            isinstance(values, dict)
            and "properties" in described
            and path.rpartition(".")[2] not in ("digests", "requests", "limits", "dashboardLabels")
        ):
            assert described["additionalProperties"] is False, path
            assert set(values) == set(described["properties"]) - {"global"}, path
            for name, value in values.items():
                compare(value, described["properties"][name], f"{path}.{name}")
        elif isinstance(values, list) and values and "items" in described:
            compare(values[0], described["items"], f"{path}[0]")

    compare(yaml.safe_load((helm.CHART / "values.yaml").read_text()), schema, "")


@pytest.mark.parametrize("name", SETS)
def test_helm_lint_has_nothing_to_say(name):
    files = [f"--values={file}" for file in SETS[name]]
    linted = helm.helm("lint", "--strict", f"--kube-version={helm.KUBE_VERSION}", str(helm.CHART), *files)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_credentials_sh_makes_what_the_minimal_values_name(tmp_path):
    home = Home.at(str(tmp_path / "ids"))
    home.create()
    keys.ensure(home)
    command = [str(helm.ROOT / "deploy/helm/credentials.sh"), str(home.root)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(printed) if one}
    given = yaml.safe_load(MINIMAL[0].read_text())["identity"]
    for service, name in given["keySecrets"].items():
        assert b64decode(made["Secret", name]["data"][f"{service}.pem"]) == keys.key_file(home, service).read_bytes()
    signing = made["Secret", given["signingKeySecret"]]["data"]
    assert b64decode(signing["signing.pem"]) == keys.signing_key_file(home).read_bytes()
    trust = made["ConfigMap", given["trustConfigMap"]]["binaryData"]
    assert {name: b64decode(text) for name, text in trust.items()} == {
        "trust.json": keys.trust_file(home).read_bytes(),
        "signing.pub.pem": keys.signing_public_key_file(home).read_bytes(),
        "users.jwks.json": keys.user_jwks_file(home).read_bytes(),
    }
    # Neither who may act as an operator nor who signs users' tokens is in the cluster.
    assert len(made) == len(SETTINGS) + 2
