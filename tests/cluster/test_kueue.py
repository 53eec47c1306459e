# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Training behind a queue: k8s/kueue as its files are, before a real Kueue."""

import json
import time
from uuid import uuid4

import pytest
import yaml

from tests.cluster.installation import SAMPLE
from tests.cluster.kubectl import Kubectl, Object, until
from tests.cluster.neighbours import beside, kueue
from tests.cluster.places import VALUES
from tests.deploy import helm
from tests.faults.figures import note

NAMESPACE_LABEL = "kubernetes.io/metadata.name"

pytestmark = pytest.mark.slow

FOLDER = helm.CHART.parents[2] / "k8s/kueue"
LAUNCHER = "--selector=app.kubernetes.io/component=launcher"
KINDS = ("LocalQueue", "ClusterQueue", "ResourceFlavor")
"""In the order in which they let each other go."""
QUEUE = "training"
"""The name of the LocalQueue, and of the namespace for which the files are."""


class Jobs:
    """The sample's recipe, submitted by an operator."""

    def __init__(self, installation) -> None:
        self._installation, self._kubectl = installation, installation.kubectl
        recipe = (SAMPLE / "recipe.yaml").read_text()
        self._kubectl.run(
            "exec", "--stdin", "deployment/dragoman-client", "--", "sh", "-c", "cat >/tmp/queued.yaml", stdin=recipe
        )

    def submit(self, model: str) -> str:
        """Return the id of a new job."""
        given = [f"--model={model}", f"--request-id={uuid4()}", "--detach", "--json"]
        printed = self._installation.dragoman("train", "/tmp/queued.yaml", *given)
        return str(json.loads(printed.splitlines()[-1])["job"]["id"])

    def shown(self, job_id: str) -> Object:
        """As the launcher shows it."""
        found: Object = json.loads(self._installation.dragoman("jobs", "show", job_id, "--json"))["job"]
        return found

    def until_it_says_that_it_waits(self, job_id: str) -> None:
        until(
            lambda: f"queue {QUEUE}" in self.shown(job_id)["message"],
            "a message that says what it waits for",
            limit_s=60,
        )

    def state(self, job_id: str) -> str:
        return str(self.shown(job_id)["state"])

    def object(self, job_id: str) -> Object:
        """As Kubernetes has it."""
        return self._kubectl.get("job", job_id)

    def workload(self, job_id: str) -> Object | None:
        """What Kueue has made of it."""
        return next(
            (
                one
                for one in self._kubectl.get("workloads")["items"]
                if any(owner["name"] == job_id for owner in one["metadata"].get("ownerReferences", ()))
            ),
            None,
        )


def ours(kubectl: Kubectl) -> dict[str, Object]:
    """k8s/kueue by kind, for the installation's namespace, and by names that are nobody's else in the cluster."""
    drawn = yaml.safe_load_all(Kubectl(kubectl.kubeconfig, "").run("kustomize", str(FOLDER)))
    by_kind: dict[str, Object] = {one["kind"]: one for one in drawn}
    local, queue, flavor = (by_kind[kind] for kind in KINDS)
    assert local["metadata"] == {"name": QUEUE, "namespace": QUEUE}
    local["metadata"]["namespace"] = kubectl.namespace
    assert queue["spec"]["namespaceSelector"] == {"matchLabels": {NAMESPACE_LABEL: QUEUE}}
    queue["spec"]["namespaceSelector"]["matchLabels"][NAMESPACE_LABEL] = kubectl.namespace
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    local["spec"]["clusterQueue"] = queue["metadata"]["name"] = kubectl.namespace
    assert quota(queue)["name"] == flavor["metadata"]["name"]
    quota(queue)["name"] = flavor["metadata"]["name"] = kubectl.namespace
    return by_kind


def quota(queue: Object) -> Object:
    (group,) = queue["spec"]["resourceGroups"]
    (found,) = group["flavors"]
    return found


@pytest.fixture(scope="module")
def queues(kubectl, installation, load_images):
    """queues(has_room=...) applies k8s/kueue, whose jobs are those of the installation."""

    def apply(*, has_room: bool) -> None:
        objects = ours(kubectl)
        if not has_room:
            for one in quota(objects["ClusterQueue"])["resources"]:
                one["nominalQuota"] = "0"
        kubectl.apply(*objects.values())

    with beside(kubectl, kueue, "kueue.x-k8s.io", load_images):
        try:
            # Its webhooks answer a moment after it is ready.
            until(lambda: apply(has_room=True) is None, "queues taken", limit_s=60)
            installation.upgrade(VALUES, pairs=(f"launcher.trainer.queue={QUEUE}",))
            installation.until_ready()
            # One that is on its way out leads until it has gone, and starts jobs as it was told.
            until(lambda: len(kubectl.get("pods", LAUNCHER)["items"]) == 1, "the new launcher alone", limit_s=120)
            yield apply
        finally:
            # A Workload keeps its queues, and these Kueue's own kinds, from going.
            kubectl.run("delete", "jobs", "--selector=kueue.x-k8s.io/queue-name", "--wait=true", timeout_s=120)
            for kind in KINDS:
                name = ours(kubectl)[kind]["metadata"]["name"]
                kubectl.run("delete", kind, name, "--ignore-not-found", "--wait=true", timeout_s=60)
            installation.upgrade(VALUES)
            installation.until_ready()


@pytest.fixture(scope="module")
def jobs(installation, queues):
    return Jobs(installation)


def test_a_job_waits_in_its_queue_says_so_and_runs_when_the_quota_has_room(queues, jobs):
    queues(has_room=False)
    waiting = jobs.submit("queued-1")
    until(
        lambda: "queue training" in jobs.shown(waiting)["message"], "a message that says what it waits for", limit_s=60
    )
    assert jobs.object(waiting)["spec"]["suspend"]
    assert "insufficient quota" in str(jobs.workload(waiting)["status"])
    began_s = time.monotonic()
    queues(has_room=True)
    until(lambda: jobs.state(waiting) == "SUCCEEDED", "its end", limit_s=180)
    assert not jobs.shown(waiting)["message"]
    note(f"Kueue: a job that waited in its queue has ended {time.monotonic() - began_s:.0f} s after the quota had room")


def test_a_job_that_kueue_takes_out_ends_well_when_it_is_let_in_again(kubectl, queues, jobs):
    queues(has_room=True)
    job = jobs.submit("queued-2")
    workload = until(lambda: jobs.workload(job), "a Workload", limit_s=60)["metadata"]["name"]
    until(lambda: jobs.object(job)["status"].get("ready"), "a pod that runs", limit_s=120, every_s=0.1)
    kubectl.run("patch", "workload", workload, "--type=merge", '--patch={"spec":{"active":false}}')
    until(lambda: jobs.object(job)["spec"]["suspend"], "the Job suspended", limit_s=60)
    jobs.until_it_says_that_it_waits(job)
    assert jobs.state(job) == "RUNNING"
    kubectl.run("patch", "workload", workload, "--type=merge", '--patch={"spec":{"active":true}}')
    until(lambda: jobs.state(job) == "SUCCEEDED", "its end", limit_s=180)
    # Taken out is no failure: it does not count against backoffLimit.
    assert not jobs.object(job)["status"].get("failed")


def test_a_job_that_is_cancelled_in_its_queue_leaves_neither_job_nor_workload(kubectl, installation, queues, jobs):
    queues(has_room=False)
    job = jobs.submit("queued-3")
    until(lambda: jobs.workload(job), "a Workload", limit_s=60)
    installation.dragoman("jobs", "cancel", job)
    until(lambda: jobs.state(job) == "CANCELLED", "its end", limit_s=120)
    until(lambda: jobs.workload(job) is None, "no Workload", limit_s=60)
    assert job not in {one["metadata"]["name"] for one in kubectl.get("jobs")["items"]}
    queues(has_room=True)
