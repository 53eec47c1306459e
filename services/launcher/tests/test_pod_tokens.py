# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which pod calls, and whose pod it is: everything that a pod, or somebody who holds a pod's token, might try."""

import time

import jwt
import pytest

from dragoman_common.auth import Caller
from dragoman_common.errors import FailedPreconditionError, NotFoundError, UnauthenticatedError, UnavailableError
from dragoman_common.testing import FakeClock, TestKeys
from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.contracts import NOW, spec
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.memory import MemoryJobStore
from dragoman_launcher.pod_exchange import PodName, PodTokenExchange
from dragoman_launcher.pod_tokens import MIN_REFRESH_S, PodTokenAuthenticator
from services.launcher.tests.fake_cluster import FakeCluster

SETTINGS = ClusterSettings(namespace="training", image="registry.example/trainer@sha256:" + "ab" * 32)
POD = {
    "metadata": {"name": "pod-1", "namespace": "training", "uid": "uid-1"},
    "spec": {"serviceAccountName": "default"},
}


class Others:
    def authenticate(self, metadata):
        return Caller(identity="operator", tenant="acme", subject="ana")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def pods(api, clock):
    return PodTokenAuthenticator(api=api, cluster=SETTINGS, others=Others(), clock=clock)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def test_a_pods_token_names_the_pod_and_other_tokens_go_the_usual_way(cluster, pods, clock):
    await pods.refresh()

    caller = pods.authenticate(bearer(cluster.token_of(POD, "dragoman-launcher", 600)))

    assert (caller.identity, caller.tenant) == ("pod", "")
    assert PodName.parse(caller.subject) == PodName("pod-1", "uid-1")
    ours = TestKeys().key("operator").token(audience="launcher", clock=clock, tenant="acme")
    for token in (ours, "nonsense"):
        assert pods.authenticate(bearer(token)).identity == "operator"


BOUND = {"namespace": "training", "serviceaccount": {"name": "default"}, "pod": {"name": "pod-1", "uid": "uid-1"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["https://kubernetes.default.svc"]},
        {"aud": []},
        {"iss": "https://another.example"},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
        {"kubernetes.io": BOUND | {"namespace": "default"}},
        {"kubernetes.io": BOUND | {"serviceaccount": {"name": "another"}}},
        {"kubernetes.io": {key: BOUND[key] for key in ("namespace", "serviceaccount")}},
        {"kubernetes.io": None},
    ],
)
async def test_another_tokens_claims_are_refused(cluster, pods, changes):
    await pods.refresh()

    with pytest.raises(UnauthenticatedError):
        pods.authenticate(bearer(cluster.token_of(POD, "dragoman-launcher", 600, **changes)))


async def test_a_token_that_the_cluster_did_not_sign_is_refused(cluster, pods):
    await pods.refresh()
    other = FakeCluster()
    head, body, _ = cluster.token_of(POD, "dragoman-launcher", 600).split(".")
    claims = jwt.decode(f"{head}.{body}.", options={"verify_signature": False})

    with pytest.raises(UnauthenticatedError, match="Signature"):
        pods.authenticate(bearer(other.token_of(POD, "dragoman-launcher", 600)))
    # "none", and a secret that is the public key: neither is an algorithm that counts here.
    for forged in (jwt.encode(claims, None, algorithm="none"), jwt.encode(claims, "k" * 32, headers={"kid": "key-0"})):
        assert pods.authenticate(bearer(forged)).identity == "operator"


async def test_a_rotated_key_is_fetched_and_a_stranger_does_not_make_us_ask_in_a_loop(cluster, pods, clock):
    await pods.refresh()
    cluster.rotate()
    token = cluster.token_of(POD, "dragoman-launcher", 600)

    with pytest.raises(UnauthenticatedError, match="none of the cluster"):
        pods.authenticate(bearer(token))
    clock.advance(MIN_REFRESH_S)
    with pytest.raises(UnavailableError, match="send the call again"):
        pods.authenticate(bearer(token))
    await pods.refresh()
    assert pods.authenticate(bearer(token)).identity == "pod"


class TestPodTokenExchange:
    @pytest.fixture
    async def catalogue(self):
        store = MemoryJobStore()
        catalogue = JobCatalogue(store)
        self.job = TrainingJob.created(spec())
        await store.create(self.job.spec)
        catalogue.add(self.job)
        return catalogue

    @pytest.fixture
    def exchange(self, api, catalogue):
        return PodTokenExchange(api=api, catalogue=catalogue, token=lambda job: (f"token of {job.id}", NOW))

    def put(self, cluster, *, job_uid="uid-job", owner_uid="uid-job", labels=None, controller=True, kind="Job"):
        ours = {"app.kubernetes.io/managed-by": "dragoman-launcher", "dragoman.dev/role": "training"}
        owner = {"kind": kind, "name": self.job.id, "uid": owner_uid, "controller": controller}
        metadata = {"name": self.job.id, "uid": job_uid, "labels": ours if labels is None else labels}
        cluster.put({"kind": "Job", "metadata": metadata})
        cluster.put({"kind": "Pod", "metadata": POD["metadata"] | {"labels": {}, "ownerReferences": [owner]}})

    async def test_a_pod_of_a_job_gets_that_jobs_token_each_time(self, cluster, exchange):
        self.put(cluster)

        for _ in range(2):
            assert await exchange.exchange(PodName("pod-1", "uid-1")) == (f"token of {self.job.id}", NOW)

    @pytest.mark.parametrize(
        "changes",
        [
            {"job_uid": "uid-later"},
            {"labels": {"app.kubernetes.io/managed-by": "somebody"}},
            {"labels": {"app.kubernetes.io/managed-by": "dragoman-launcher", "dragoman.dev/role": "stop"}},
            {"controller": False},
            {"kind": "ReplicaSet"},
        ],
    )
    async def test_a_pod_of_anything_else_gets_none(self, cluster, exchange, changes):
        self.put(cluster, **changes)

        with pytest.raises(NotFoundError):
            await exchange.exchange(PodName("pod-1", "uid-1"))

    async def test_a_pod_that_has_gone_gets_none_also_when_another_has_its_name(self, cluster, exchange):
        with pytest.raises(NotFoundError):
            await exchange.exchange(PodName("pod-1", "uid-1"))
        self.put(cluster)
        with pytest.raises(NotFoundError):
            await exchange.exchange(PodName("pod-1", "uid-0"))

    async def test_an_ended_or_cancelled_job_gets_none_any_more(self, cluster, exchange, catalogue):
        self.put(cluster)
        await catalogue.change(self.job.id, lambda job: job.request_cancel(NOW, "enough"))

        with pytest.raises(FailedPreconditionError):
            await exchange.exchange(PodName("pod-1", "uid-1"))
