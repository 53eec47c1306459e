# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Pools: which models each holds, and what scales it, in each of the three ways."""

import json
import math

import pytest

from dragoman_autoscaler.settings import Settings as AutoscalerSettings
from dragoman_autoscaler.targets import Targets, parse_trigger
from dragoman_client.cluster.settling import KEY
from dragoman_gateway.settings import Settings as GatewaySettings
from dragoman_worker.settings import WorkerSettings
from tests.deploy import helm
from tests.deploy.test_chart import MINIMAL, SETS, environment, pods, workloads
from tests.parts.missing import required

SCALED = SETS["scaled"]


@pytest.fixture(scope="module", autouse=True)
def _helm():
    required("helm", helm.binary)


def scalers(rendered):
    return [one for one in rendered if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")]


def replicas(rendered):
    return {
        one["metadata"]["name"].removeprefix("dragoman-worker-"): one["spec"].get("replicas")
        for one in workloads(rendered)
        if one["metadata"]["name"].startswith("dragoman-worker-")
    }


def test_keda_asks_the_autoscaler_first_and_has_cpu_beside_it():
    found = {one["metadata"]["name"]: one["spec"] for one in scalers(helm.objects(*SCALED))}
    assert set(found) == {"dragoman-worker-cpu", "dragoman-worker-gpu"}
    gpu = found["dragoman-worker-gpu"]
    assert (gpu["minReplicaCount"], gpu["maxReplicaCount"]) == (0, 4)
    # Never nobody, where nothing is known.
    assert gpu["fallback"]["replicas"] == 1
    push, cpu = gpu["triggers"]
    assert (push["type"], cpu["type"]) == ("external-push", "cpu")
    assert push["metadata"]["scalerAddress"] == f"dragoman-autoscaler.{helm.NAMESPACE}.svc:9000"
    down = gpu["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 120


def test_the_autoscaler_takes_each_trigger_as_it_stands():
    for one in scalers(helm.objects(*SCALED)):
        given = one["spec"]["triggers"][0]["metadata"]
        targets = parse_trigger(given, Targets()).targets
        name = one["metadata"]["name"].removeprefix("dragoman-worker-")
        assert given["pool"] == name
        expected = (2000, 100, 0.6) if name == "gpu" else (4000, 250, 0.75)
        assert (targets.pending_tokens, targets.queue_time_ms, targets.utilization) == expected


def test_keda_shows_the_client_certificate_that_the_hook_makes():
    rendered = helm.objects(*SCALED)
    (auth,) = [one for one in rendered if one["kind"] == "TriggerAuthentication"]
    refs = {ref["parameter"]: (ref["name"], ref["key"]) for ref in auth["spec"]["secretTargetRef"]}
    secret = "dragoman-tls-keda"
    assert refs == {
        "caCert": (secret, "ca.crt"),
        "tlsClientCert": (secret, "tls.crt"),
        "tlsClientKey": (secret, "tls.key"),
    }
    (role,) = [one for one in rendered if one["kind"] == "Role" and one["metadata"]["name"] == "dragoman-init"]
    assert secret in role["rules"][0]["resourceNames"]
    triggers = [trigger for one in scalers(rendered) for trigger in one["spec"]["triggers"] if trigger["type"] != "cpu"]
    assert {trigger["authenticationRef"]["name"] for trigger in triggers} == {auth["metadata"]["name"]}
    # Who calls it without a certificate does not reach it; the services are known by their tokens.
    asks = [name for name, spec in pods(rendered) if any("CLIENT_CA" in key for key in environment(spec))]
    assert asks == ["dragoman-autoscaler"]


def test_keda_asks_again_once_the_autoscaler_serves():
    # Found on a cluster: a ScaledObject that was there before the autoscaler answered scaled on CPU alone.
    rendered = helm.objects(*SCALED)
    (job,) = [one for one in rendered if one["kind"] == "Job" and "rescale" in one["metadata"]["name"]]
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    names = {one["metadata"]["name"] for one in scalers(rendered)}
    assert names == {argument for argument in arguments[2:] if not argument.startswith("-")}
    assert f"--autoscaler=dragoman-autoscaler.{helm.NAMESPACE}.svc:9001" in arguments
    (role,) = [one for one in rendered if one["kind"] == "Role" and one["metadata"]["name"] == "dragoman-rescale"]
    (rule,) = role["rules"]
    assert (set(rule["resourceNames"]), rule["verbs"]) == (names, ["patch"])
    (scaled, *_) = scalers(rendered)
    # The key that the command changes is none of the autoscaler's.
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    assert parse_trigger({**trigger, KEY: "now"}, Targets()) == parse_trigger(trigger, Targets())


@pytest.mark.parametrize(("mode", "kind"), [("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")])
def test_what_is_scaled_has_no_replicas_of_the_chart(mode, kind):
    rendered = helm.objects(*SCALED, values=(f"autoscaling={mode}", "pools[1].min=1"))
    assert {one["kind"] for one in scalers(rendered)} == {kind}
    assert replicas(rendered) == {"cpu": None, "gpu": None}
    assert any(one["metadata"]["name"] == "dragoman-autoscaler" for one in rendered) is (mode == "keda")


def test_neither_mode_s_hpa_is_in_the_other_s_way():
    """An upgrade makes what is new before it takes away what is old, and KEDA's HPA goes with its ScaledObject."""
    given = "pools[1].min=1"
    (hpa, _) = scalers(helm.objects(*SCALED, values=("autoscaling=hpa", given)))
    (scaled, _) = scalers(helm.objects(*SCALED, values=("autoscaling=keda", given)))
    assert hpa["spec"]["scaleTargetRef"] == scaled["spec"]["scaleTargetRef"]
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] != hpa["metadata"]["name"]
    # What KEDA's webhook looks for, at the HPA that there is.
    assert hpa["metadata"]["annotations"]["validations.keda.sh/hpa-ownership"] == "false"


def test_without_scaling_pools_keep_their_least():
    rendered = helm.objects(*SCALED, values=("autoscaling=none", "pools[0].min=2", "pools[1].min=1"))
    assert scalers(rendered) == []
    assert replicas(rendered) == {"cpu": 2, "gpu": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("autoscaling=hpa",), "min 0 needs autoscaling: keda"),
        (("tls.mode=none", "evaluation.sample=false"), "autoscaling: keda needs tls.mode"),
        (("tls.mode=none",), "evaluation.sample needs tls.mode"),
        (("pools[0].min=9",), "pool cpu: min is over max"),
    ],
)
def test_what_cannot_be_scaled_is_refused(given, said):
    refused = helm.template(*SCALED, values=given)
    assert refused.returncode
    assert said in refused.stderr


MOST_HELD = GatewaySettings.__dataclass_fields__["max_held_calls"].default
MOST_WAITING = WorkerSettings.__dataclass_fields__["max_waiting_requests"].default


def the_least_that_takes(held):
    """MAX_WAITING_REQUESTS of a worker that has room for so many calls of one tenant."""
    return math.ceil(held / WorkerSettings.__dataclass_fields__["max_tenant_share"].default)


@pytest.mark.parametrize(
    ("held", "worker", "least", "is_refused"),
    [
        (MOST_WAITING * 4 // 5, {}, 1, False),
        (MOST_WAITING * 4 // 5 + 1, {}, 1, True),
        (None, {"MAX_WAITING_REQUESTS": the_least_that_takes(MOST_HELD)}, 1, False),
        (None, {"MAX_WAITING_REQUESTS": the_least_that_takes(MOST_HELD) - 1}, 1, True),
        (None, {"MAX_TENANT_SHARE": 0.6}, 1, True),
        # The least of all pools counts, and of a pool at zero one worker comes first.
        (MOST_WAITING * 8 // 5, {}, 2, False),
        (MOST_WAITING * 8 // 5 + 1, {}, 2, True),
        (MOST_WAITING * 4 // 5 + 1, {}, 0, True),
    ],
)
def test_no_more_calls_are_held_than_the_first_workers_take(held, worker, least, is_refused, tmp_path):
    gateway = {} if held is None else {"MAX_HELD_CALLS": str(held)}
    given = {"gateway": gateway, "worker": {name: str(value) for name, value in worker.items()}}
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps({service: {"settings": settings} for service, settings in given.items()}))
    rendered = helm.template(*SCALED, file, values=("pools[0].min=3", f"pools[1].min={least}"))
    assert bool(rendered.returncode) is is_refused, rendered.stderr
    assert ("gateway.settings.MAX_HELD_CALLS: " in rendered.stderr) is is_refused


def test_gateway_autoscaler_and_workers_agree_on_pools_and_models():
    told = {name.removeprefix("dragoman-"): environment(spec) for name, spec in pods(helm.objects(*SCALED))}
    gateway, autoscaler = told["gateway"], told["autoscaler"]
    followed = [gateway["DRAGOMAN_GATEWAY_WORKER_TARGETS"], autoscaler["DRAGOMAN_AUTOSCALER_POOLS"]]
    assert [[entry.partition("=")[0] for entry in each.split(",")] for each in followed] == [["cpu", "gpu"]] * 2
    pools = [entry.partition("=") for entry in gateway["DRAGOMAN_GATEWAY_POOL_MODELS"].split(",")]
    for pool in ("cpu", "gpu"):
        worker = told[f"worker-{pool}"]
        assert worker["DRAGOMAN_WORKER_POOL"] == pool
        assert worker["DRAGOMAN_WORKER_MODELS"].split(",") == [model for name, _, model in pools if name == pool]
    fields = {WorkerSettings: ("pool", "models"), GatewaySettings: ("pool_models",), AutoscalerSettings: ("pools",)}
    assert all(name in kind.__dataclass_fields__ for kind, names in fields.items() for name in names)


def test_gateways_find_workers_that_are_not_ready_and_the_autoscaler_counts_those_that_are():
    rendered = helm.objects(*SCALED)
    services = {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "Service"}
    told = {name: environment(spec) for name, spec in pods(rendered)}
    followed = {
        "DRAGOMAN_GATEWAY_WORKER_TARGETS": told["dragoman-gateway"],
        "DRAGOMAN_AUTOSCALER_POOLS": told["dragoman-autoscaler"],
    }
    for variable, environ in followed.items():
        for entry in environ[variable].split(","):
            pool, _, place = entry.partition("=")
            service = services[place.partition(".")[0]]
            assert (service["clusterIP"], place.rpartition(":")[2]) == ("None", "9000")
            assert service["selector"]["app.kubernetes.io/component"] == f"worker-{pool}"
            assert service.get("publishNotReadyAddresses", False) is (variable == "DRAGOMAN_GATEWAY_WORKER_TARGETS")
    # No others: a tokenizer that is not ready has nothing to say of itself, and calls are spread over every address.
    assert {name for name, spec in services.items() if spec.get("publishNotReadyAddresses")} == {
        "dragoman-pool-cpu",
        "dragoman-pool-gpu",
    }


def test_a_pool_of_everything_is_what_the_minimal_values_give():
    told = {name: environment(spec) for name, spec in pods(helm.objects(*MINIMAL))}
    assert told["dragoman-worker-cpu"]["DRAGOMAN_WORKER_MODELS"] == "*"
    assert "DRAGOMAN_GATEWAY_AUTOSCALER_TARGET" not in told["dragoman-gateway"]
