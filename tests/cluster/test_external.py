# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""No evaluation: parts of others by address, over TLS and with credentials; given certificates; claims; the CPU's HPA.

In namespaces of its own, whatever the folder's other tests have installed.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import ExitStack

import pytest

from tests.cluster.bystander import client
from tests.cluster.external import RELEASE, TRAINING, VALUES, VALUES_KEDA, answers, claims, company, installed
from tests.cluster.installation import MODEL, known_rows
from tests.cluster.kubectl import Kubectl, is_ready, until
from tests.cluster.load import Load
from tests.cluster.outside import AUTHORITY
from tests.cluster.test_autoscaling import HEAVY, HPA_PERIOD_S, WORKERS, Watch, wanted
from tests.cluster.test_uninstall import KINDS, component_of
from tests.faults.figures import note

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kubectl(kubeconfig):
    with company(kubeconfig) as ours:
        yield ours


@pytest.fixture(scope="module")
def installation(kubectl):
    with installed(kubectl) as made:
        yield made


@pytest.fixture(scope="module")
def asked(installation):
    """With the client's pod beside it, and the sample's model trained."""
    with client(installation, VALUES, sample=True):
        began_s = time.monotonic()
        installation.until_sample_is_answered(limit_s=600)
        note(f"external parts: data, training and 20 right answers in {time.monotonic() - began_s:.0f} s")
        yield installation


def test_known_texts_are_answered_right_by_a_model_that_a_job_in_another_namespace_trained(kubectl, asked):
    log = asked.sample_log()
    assert "20 of 20 right" in log, log
    assert answers(asked) == [label for _, label in known_rows()]
    training = Kubectl(kubectl.kubeconfig, TRAINING)
    (job,) = training.get("jobs", "--selector=app.kubernetes.io/name=dragoman-trainer")["items"]
    assert job["status"]["succeeded"] == 1


def test_every_answer_comes_through_kafka_into_the_books_in_postgresql(asked):
    report = until(
        lambda: (
            (found := json.loads(asked.dragoman("report", MODEL, "--json"))["versions"])
            and sum(one["num_predictions"] for one in found) >= 2 * len(known_rows())
            and found
        ),
        "40 rows in the books",
        limit_s=60,
    )
    assert sum(one["num_predictions"] for one in report) == 2 * len(known_rows())


def test_what_must_outlive_a_pod_is_in_claims(kubectl, asked):
    found = kubectl.get("persistentvolumeclaims", RELEASE)["items"]
    assert {one["metadata"]["name"]: one["status"]["phase"] for one in found} == dict.fromkeys(claims(), "Bound")


def test_helm_test_passes_with_given_certificates(asked):
    assert "Phase:          Succeeded" in asked.helm("test", "dragoman")


def test_an_operator_reaches_it_from_a_laptop_with_a_secret_s_key_and_kubectl_alone(kubectl, asked, tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    key, authority = folder / "operator.pem", tmp_path / "ca.crt"
    key.touch(mode=0o600)
    key.write_bytes(b64decode(kubectl.get("secret", "dragoman-operator")["data"]["operator.pem"]))
    authority.write_text(kubectl.get("configmap", AUTHORITY)["data"]["ca.crt"])
    with ExitStack() as stack:
        services = []
        for name in ("registry", "launcher", "monitor", "worker-cpu"):
            port = stack.enter_context(kubectl.forward(f"service/dragoman-{name}", 9000)).rpartition(":")[2]
            # As the certificates have it.
            services.append(f"{name.partition('-')[0]}=localhost:{port}")

        def dragoman(*arguments: str) -> dict:
            done = subprocess.run(
                [sys.executable, "-m", "dragoman_client", f"--home={tmp_path}", f"--ca={authority}", *arguments],
                env={"PATH": os.environ["PATH"], "DRAGOMAN_SERVICES": ",".join(services)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        assert [one["model"] for one in dragoman("models", "--json")["models"]] == [MODEL]
        assert len(dragoman("jobs", "--json")["jobs"]) == 1
        assert dragoman("report", MODEL, "--json")["versions"]


def hpa(kubectl) -> dict:
    return kubectl.get("horizontalpodautoscaler", "dragoman-worker-cpu")


def utilization(kubectl) -> int | None:
    """Of what the workers request, in per cent; None while metrics-server has none."""
    for one in hpa(kubectl)["status"].get("currentMetrics") or ():
        return one.get("resource", {}).get("current", {}).get("averageUtilization")
    return None


def test_hpa_gives_the_load_a_second_worker_and_takes_it_back_without_a_failed_call(kubectl, asked):
    until(lambda: utilization(kubectl) is not None, "a figure of metrics-server", limit_s=120)
    with Load(kubectl, callers=2, name="base", **HEAVY) as base:
        # Starting takes more CPU than working: a worker more may still be there for it.
        until(
            lambda: wanted(kubectl) == 1 and 0 < (utilization(kubectl) or 0) <= 70,
            "one worker with room",
            limit_s=300,
        )
        before = utilization(kubectl)
        with Watch(kubectl) as watch:
            step_s = time.monotonic()
            # Eight calls at a time fill a worker's CPU, and not what one tenant may have waiting there.
            with Load(kubectl, callers=6, name="more", **(HEAVY | {"every_s": 0.5})) as more:
                until(lambda: wanted(kubectl) == 2, "two workers wanted", limit_s=180)
                most = utilization(kubectl)
                until(lambda: sum(map(is_ready, kubectl.pods(WORKERS))) == 2, "two workers", limit_s=240)
                # Both are used.
                time.sleep(4 * HPA_PERIOD_S)
                added = more.end(limit_s=180)
            until(lambda: wanted(kubectl) == 1, "one worker", limit_s=300)
        outcome = base.end(limit_s=180)
    rise_s = watch.first_s(1, since_s=step_s)
    note(f"HPA on CPU: {before} % to {most} %, 2 asked for after {rise_s:.0f} s; {watch}; {outcome}; {added}")
    assert (outcome.num_wrong, outcome.failures) == (0, ())
    assert (added.num_wrong, added.failures) == (0, ())
    assert watch.changes_of_direction() <= 1


def test_pools_go_over_to_keda_and_back_to_the_hpa_with_certificates_known_by_dns_names(kubectl, asked):
    if not kubectl.run("api-resources", "--api-group=keda.sh", "--output=name").strip():
        pytest.skip("this cluster has no KEDA")

    def figures() -> list[dict]:
        """What the HPA of the pool knows, whoever has made it; empty unless there is one alone."""
        found = kubectl.get("horizontalpodautoscalers")["items"]
        return found[0]["status"].get("currentMetrics") or [] if len(found) == 1 else []

    asked.upgrade(VALUES, VALUES_KEDA)
    # It comes from the autoscaler, through KEDA, whose certificate names nobody but by tls.identities.
    until(lambda: {one["type"] for one in figures()} == {"External", "Resource"}, "figures of KEDA", limit_s=180)
    assert answers(asked) == [label for _, label in known_rows()]
    asked.upgrade(VALUES)
    until(lambda: not kubectl.get("scaledobjects")["items"], "no ScaledObject", limit_s=60)
    until(lambda: {one["type"] for one in figures()} == {"Resource"}, "a figure of metrics-server", limit_s=180)
    assert answers(asked) == [label for _, label in known_rows()]


def test_uninstalling_leaves_claims_and_keys_and_what_is_installed_over_them_answers(kubectl, asked, installation):
    installation.uninstall()
    until(
        lambda: {component_of(pod) for pod in kubectl.get("pods", RELEASE)["items"]} <= {"client", "sample"},
        "no pod of the release",
        limit_s=180,
    )
    left = kubectl.get(f"{KINDS},persistentvolumeclaims", RELEASE)["items"]
    names = [
        f"{one['kind']} {one['metadata']['name']}"
        for one in left
        if component_of(one) not in ("identity", "client", "sample")
    ]
    assert sorted(names) == sorted(f"PersistentVolumeClaim {name}" for name in claims())
    began_s = time.monotonic()
    installation.begin(VALUES)
    installation.until_ready()
    # No training, no alias: the model is in the store, its keys and the newest heads were left.
    found = until(lambda: answers(installation), "answers", limit_s=120)
    note(f"uninstalled and installed again: the same model answers after {time.monotonic() - began_s:.0f} s")
    assert found == [label for _, label in known_rows()]
