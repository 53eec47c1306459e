# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher and registry adapters against real gRPC servers on port 0."""

import hashlib
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from dragoman.launcher.v1 import launcher_pb2 as launcher_pb
from dragoman.launcher.v1 import launcher_pb2_grpc
from dragoman.registry.v1 import registry_pb2 as registry_pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnavailableError,
)
from dragoman_trainer import call
from dragoman_trainer.call import JobToken, call_with_retries, open_channel
from dragoman_trainer.launcher_client import LauncherReporter, progress_to_pb
from dragoman_trainer.pod_credential import PodCredential
from dragoman_trainer.ports import JobCancelledError, Lineage, Progress, Published
from dragoman_trainer.registry_client import CHUNK_BYTES, RegistryPublisher


class Launcher(launcher_pb2_grpc.LauncherServiceServicer):
    def __init__(self):
        self.requests = []
        self.credentials = []
        self.is_cancelled = False
        self.failures = []

    def ReportProgress(self, request, context):
        self.credentials.append(dict(context.invocation_metadata()).get("authorization"))
        if self.failures:
            context.abort(self.failures.pop(0), "not now")
        self.requests.append(request)
        return launcher_pb.ReportProgressResponse(is_cancelled=self.is_cancelled)

    def ExchangePodToken(self, request, context):
        self.credentials.append(dict(context.invocation_metadata()).get("authorization"))
        if self.failures:
            context.abort(self.failures.pop(0), "not now")
        return launcher_pb.ExchangePodTokenResponse(token="the.jobs.token")


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    def GetLineage(self, request, context):
        if request.job_id not in self.published:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such version")
        entry = registry_pb.LineageEntry(version=self.published[request.job_id], root_sha256="ef" * 32)
        return registry_pb.GetLineageResponse(entries=[entry])

    def __init__(self):
        self.published = {}
        self.details = "not now"
        self.uploads = []
        self.failures = []

    def PublishVersion(self, request_iterator, context):
        messages = list(request_iterator)
        self.uploads.append(messages)
        if self.failures:
            context.abort(self.failures.pop(0), self.details)
        version = registry_pb.ModelVersion(number=4, root_sha256="cd" * 32)
        return registry_pb.PublishVersionResponse(version=version, created=True)


@contextmanager
def _serving(add, servicer):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with open_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        server.stop(None).wait()


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("signed.job.token\n", encoding="ascii")
    return JobToken(path)


@pytest.fixture
def launcher(token):
    servicer = Launcher()
    with _serving(launcher_pb2_grpc.add_LauncherServiceServicer_to_server, servicer) as channel:
        time = iter(range(1000))
        servicer.reporter = LauncherReporter(channel, token, "job-1", monotonic_s=lambda: next(time) * 0.1)
        yield servicer


@pytest.fixture
def registry(token, tmp_path):
    servicer = Registry()
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 10_000)
    (folder / "model.json").write_bytes(b"{}")
    with _serving(registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer) as channel:
        publisher = RegistryPublisher(channel, token, model="r8", job_id="job-1")
        servicer.publish = lambda: publisher.publish(folder, Lineage(recipe="name: x", data_sha256="ab" * 32))
        servicer.folder, servicer.publisher = folder, publisher
        yield servicer


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(call, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def _progress(step, *, stage="train"):
    return Progress(
        stage=stage, epoch=1 + (step - 1) // 10, num_epochs=3, step=step, num_steps=30, metrics={"train_loss": 0.5}
    )


def test_steps_are_thinned_but_stages_and_epoch_ends_are_not(launcher):
    launcher.reporter.report(Progress(stage="load", metrics={}))
    for step in range(1, 31):
        launcher.reporter.report(_progress(step))
    launcher.reporter.report(Progress(stage="evaluate", metrics={}))
    steps = [request.progress.step for request in launcher.requests]
    assert {10, 20, 30} <= set(steps)
    assert len(steps) < 20
    assert list(dict.fromkeys(request.progress.stage for request in launcher.requests)) == ["load", "train", "evaluate"]


def test_every_report_carries_the_job_and_its_token(launcher):
    launcher.reporter.report(_progress(1))
    assert launcher.requests[0].id == "job-1"
    assert launcher.credentials == ["Bearer signed.job.token"]
    assert dict(launcher.requests[0].progress.metrics) == {"train_loss": 0.5}


def test_a_cancelled_job_stops_at_its_next_report(launcher):
    launcher.is_cancelled = True
    with pytest.raises(JobCancelledError):
        launcher.reporter.report(_progress(1))


def test_a_lost_progress_report_does_not_stop_the_training(launcher):
    launcher.failures = [grpc.StatusCode.UNAVAILABLE]
    launcher.reporter.report(_progress(10))
    launcher.reporter.report(_progress(20))
    assert [request.progress.step for request in launcher.requests] == [20]


def test_a_launcher_that_is_away_is_asked_ever_more_rarely(launcher):
    launcher.failures = [grpc.StatusCode.UNAVAILABLE] * 100
    for step in range(1, 10):
        launcher.reporter.report(_progress(step))
    assert len(launcher.credentials) == 1
    launcher.failures.clear()
    launcher.reporter.report(_progress(10))
    assert [request.progress.step for request in launcher.requests] == [10]


def test_the_published_version_is_reported_until_it_arrives(launcher):
    launcher.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    launcher.reporter.published(Published(7, "ab" * 32))
    assert [request.published_version for request in launcher.requests] == [7]
    assert len(launcher.credentials) == 3


def test_an_unknown_remaining_time_stays_unset():
    assert not progress_to_pb(Progress(stage="load", metrics={})).HasField("eta")
    assert progress_to_pb(Progress(stage="train", eta_s=1.5, metrics={})).eta.ToMilliseconds() == 1500


def test_an_upload_is_the_header_and_every_byte_in_order(registry):
    assert registry.publish() == Published(4, "cd" * 32)
    header, *chunks = registry.uploads[0]
    assert (header.header.model, header.header.publish_id, header.header.number) == ("r8", "job-1", 0)
    assert (header.header.lineage.recipe, header.header.lineage.job_id) == ("name: x", "job-1")
    received = {}
    for message in chunks:
        chunk = message.chunk
        assert len(chunk.data) <= CHUNK_BYTES
        assert chunk.offset_bytes == len(received.setdefault(chunk.path, b""))
        received[chunk.path] += chunk.data
    for entry in header.header.files:
        assert received[entry.path] == (registry.folder / entry.path).read_bytes()
        assert entry.size_bytes == len(received[entry.path])
        assert entry.sha256 == hashlib.sha256(received[entry.path]).hexdigest()
    assert [entry.path for entry in header.header.files] == ["model.json", "weights.safetensors"]


def test_a_broken_upload_is_sent_again_whole_under_the_same_id(registry):
    registry.failures = [grpc.StatusCode.UNAVAILABLE]
    registry.publish()
    first, second = registry.uploads
    assert [message.SerializeToString() for message in first] == [message.SerializeToString() for message in second]


def test_a_refusal_is_not_repeated(registry):
    registry.failures = [grpc.StatusCode.ALREADY_EXISTS]
    with pytest.raises(AlreadyExistsError, match="not now"):
        registry.publish()
    assert len(registry.uploads) == 1


def test_retries_end_with_the_last_error():
    attempts = []

    def away():
        attempts.append(1)
        raise UnavailableError("away")

    with pytest.raises(UnavailableError, match="away"):
        call_with_retries("it", away, sleep=lambda _: None)
    assert len(attempts) == 4

    def refused():
        attempts.append(1)
        raise PermissionDeniedError("no")

    with pytest.raises(PermissionDeniedError):
        call_with_retries("it", refused, sleep=lambda _: None)
    assert len(attempts) == 5


def test_an_unreadable_token_file_is_named(tmp_path):
    with pytest.raises(UnavailableError, match="cannot be read"):
        JobToken(tmp_path / "missing").metadata()


def test_a_pod_waits_for_the_launcher_and_asks_once_for_its_jobs_token(tmp_path):
    (tmp_path / "pod-token").write_text("the.pods.token", encoding="ascii")
    waits = []
    servicer = Launcher()
    servicer.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    with _serving(launcher_pb2_grpc.add_LauncherServiceServicer_to_server, servicer) as channel:
        credential = PodCredential(channel, tmp_path / "pod-token", sleep=waits.append)
        found = [credential.metadata() for _ in range(2)]
    assert found == [(("authorization", "Bearer the.jobs.token"),)] * 2
    assert servicer.credentials == ["Bearer the.pods.token"] * 3
    assert waits == [0.5, 1.0]


def test_a_pod_whose_job_gets_no_token_says_why_and_one_waits_no_longer_than_a_quarter_of_an_hour(tmp_path):
    (tmp_path / "pod-token").write_text("the.pods.token", encoding="ascii")
    waits = []
    servicer = Launcher()
    with _serving(launcher_pb2_grpc.add_LauncherServiceServicer_to_server, servicer) as channel:
        credential = PodCredential(channel, tmp_path / "pod-token", sleep=waits.append)
        servicer.failures = [grpc.StatusCode.FAILED_PRECONDITION]
        with pytest.raises(FailedPreconditionError, match="not now"):
            credential.metadata()
        servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 100
        with pytest.raises(UnavailableError):
            credential.metadata()
    assert 900 <= sum(waits) < 920


def test_what_another_process_of_the_job_published_counts(registry):
    assert registry.publisher.published() is None
    registry.details = "publish_id job-1 was used for other content"
    registry.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(UnavailableError, match="another process of this job is publishing"):
        registry.publish()

    registry.published = {"job-1": 7}
    registry.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    assert registry.publish() == Published(7, "ef" * 32)
    assert registry.publisher.published() == Published(7, "ef" * 32)

    registry.details = "files: a version needs model.json"
    registry.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(InvalidArgumentError, match=r"model\.json"):
        registry.publish()
