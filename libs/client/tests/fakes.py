# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The four services that the SDK and the command call, in this process, with answers that tests know."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import jwt

from dragoman.common.v1 import signed_pb2
from dragoman.gateway.v1 import gateway_pb2
from dragoman.inference.v1 import worker_pb2
from dragoman.launcher.v1 import launcher_pb2
from dragoman.monitor.v1 import monitor_pb2
from dragoman.registry.v1 import data_pb2, registry_pb2
from dragoman_client.local.user_tokens import AUDIENCE, ISSUER
from dragoman_common.auth import Caller, bearer_token, current_caller
from dragoman_common.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from dragoman_models.data_set import data_sha256
from dragoman_models.file_digest import FileDigest
from dragoman_models.record import AliasRecord
from dragoman_models.signing import sign_alias_record
from dragoman_models.verify import payload_sha256


def _load(name: str) -> Any:
    # importlib mode puts no test folder on the path.
    spec = importlib.util.spec_from_file_location(f"client_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake_trust = _load("fake_trust")
LABELS = ("acq", "earn")
KEY = fake_trust.KEY
TIME = fake_trust.TIME
DIGEST = fake_trust.VERSION.root_sha256


class UserAuthenticator:
    """Accepts the tokens of a home's own issuer."""

    def __init__(self, jwks: str) -> None:
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwks).keys}

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        token = bearer_token(metadata)
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.InvalidTokenError as error:
            raise UnauthenticatedError(f"the token does not hold: {error}") from None
        models = frozenset(claims.get("models", ["*"]))
        return Caller(identity="user", tenant=claims["tenant"], subject=claims["sub"], models=models)


class Gateway:
    def __init__(self) -> None:
        self.feedback: list[gateway_pb2.FeedbackItem] = []
        self.callers: list[Caller] = []

    async def Classify(self, request: gateway_pb2.ClassifyRequest, _: object) -> gateway_pb2.ClassifyResponse:
        self.callers.append(current_caller())
        if request.model.model != "r8":
            raise NotFoundError(f"no model {request.model.model!r}")
        for row, text in enumerate(request.texts):
            if not text.strip():
                raise InvalidArgumentError(f"texts[{row}] is empty")
        return gateway_pb2.ClassifyResponse(
            request_id="r-77",
            client_id=request.client_id,
            model="r8",
            version=request.model.version or 2,
            root_sha256=DIGEST,
            labels=LABELS,
            rows=[
                gateway_pb2.Classification(label="earn" if "profit" in text else "acq", scores=[0.25, 0.75])
                for text in request.texts
            ],
        )

    async def SendFeedback(
        self, request: gateway_pb2.SendFeedbackRequest, _: object
    ) -> gateway_pb2.SendFeedbackResponse:
        self.feedback += request.items
        return gateway_pb2.SendFeedbackResponse(num_accepted=len(request.items))

    async def ListModels(self, _request: gateway_pb2.ListModelsRequest, _: object) -> gateway_pb2.ListModelsResponse:
        served = gateway_pb2.ServedModel(
            model="r8", alias="prod", version=2, root_sha256=DIGEST, labels=LABELS, is_ready=True
        )
        return gateway_pb2.ListModelsResponse(models=[served])


def alias_record(sequence: int, version: int) -> AliasRecord:
    """Event 1 or 2 of r8@prod, for events and for those who verify them."""
    return AliasRecord(
        tenant="local",
        model="r8",
        alias="prod",
        sequence=sequence,
        stable_version=version,
        stable_root_sha256=DIGEST,
        moved_by="operator:operator",
        move_time=TIME,
        request_id=f"q{sequence}",
        nonce="n",
        reason="because",
        previous_sha256=payload_sha256(alias_record(1, 1)) if sequence > 1 else "",
    )


def alias_event(version: int, sequence: int) -> registry_pb2.AliasEvent:
    event = registry_pb2.AliasEvent(
        record=signed_pb2.SignedRecord(envelope=sign_alias_record(alias_record(sequence, version), KEY)),
        tenant="local",
        model="r8",
        alias="prod",
        sequence=sequence,
        stable_version=version,
        stable_root_sha256=DIGEST,
        reason="because",
        gate_summary="accuracy 0.9744",
        moved_by="operator",
        previous_sha256="ab" * 32 if sequence > 1 else "",
    )
    event.move_time.FromJsonString("2026-05-01T09:03:00Z")
    event.gate_basis.rule.MergeFrom(registry_pb2.GateRule(alias="prod", quality=registry_pb2.QUALITY_RULE_NOT_WORSE))
    event.gate_basis.evidence.add(version=2, digest="77" * 32)
    return event


class Data:
    """Keeps what is put, by name; with `other_digest` it answers with another one."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.kept: dict[str, data_pb2.DataSet] = {}
        self.other_digest = ""

    async def PutDataSet(
        self, requests: AsyncIterator[data_pb2.PutDataSetRequest], _: object
    ) -> data_pb2.PutDataSetResponse:
        header = (await anext(requests)).header
        files = self.files[header.name] = {file.path: b"" for file in header.files}
        async for request in requests:
            files[request.chunk.path] += request.chunk.data
        listed = [FileDigest(path=f.path, size_bytes=f.size_bytes, sha256=f.sha256) for f in header.files]
        digest = data_sha256(listed)
        created = header.name not in self.kept
        found = data_pb2.DataSet(name=header.name, number=1, sha256=self.other_digest or digest, files=header.files)
        found.put_by = "operator:ada"
        found.put_time.FromDatetime(TIME)
        self.kept[header.name] = found
        return data_pb2.PutDataSetResponse(data_set=found, created=created)

    async def ListDataSets(self, request: data_pb2.ListDataSetsRequest, _: object) -> data_pb2.ListDataSetsResponse:
        names = [name for name in sorted(self.kept) if name > request.page_token]
        return data_pb2.ListDataSetsResponse(
            data_sets=[self.kept[name] for name in names[:1]], next_page_token=names[0] if len(names) > 1 else ""
        )


class Registry(fake_trust.Trust):
    """Refuses version 3 at the gate; pages hold one entry, so that callers must turn them."""

    def __init__(self) -> None:
        super().__init__()
        self.published: dict[str, bytes] = {}
        self.tenants: list[str] = []

    async def PublishVersion(
        self, requests: AsyncIterator[registry_pb2.PublishVersionRequest], _: object
    ) -> registry_pb2.PublishVersionResponse:
        self.tenants.append(current_caller().tenant)
        files: list[signed_pb2.FileDigest] = []
        async for request in requests:
            if request.HasField("header"):
                files = list(request.header.files)
                self.published = {file.path: b"" for file in files}
            else:
                assert request.chunk.offset_bytes == len(self.published[request.chunk.path])
                self.published[request.chunk.path] += request.chunk.data
        version = registry_pb2.ModelVersion(
            tenant="local",
            model="r8",
            number=2,
            root_sha256=DIGEST,
            files=files,
            publisher="operator",
            task="text-classification",
            architecture="rnn",
            labels=LABELS,
        )
        version.publish_time.FromJsonString("2026-05-01T09:02:30Z")
        return registry_pb2.PublishVersionResponse(version=version, created=True)

    async def ListModels(self, request: registry_pb2.ListModelsRequest, _: object) -> registry_pb2.ListModelsResponse:
        names = ["bbc", "r8"]
        index = int(request.page_token or 0)
        summary = registry_pb2.ModelSummary(
            model=names[index], num_versions=2, newest_version=2, aliases=[alias_event(2, 2)]
        )
        token = str(index + 1) if index + 1 < len(names) else ""
        return registry_pb2.ListModelsResponse(models=[summary], next_page_token=token)

    async def SetAlias(self, request: registry_pb2.SetAliasRequest, _: object) -> registry_pb2.SetAliasResponse:
        if request.version == 3:
            raise FailedPreconditionError("the gate refused: accuracy 0.5 against 0.9744")
        return registry_pb2.SetAliasResponse(event=alias_event(request.version, 2))

    async def GetAlias(self, request: registry_pb2.GetAliasRequest, _: object) -> registry_pb2.GetAliasResponse:
        return registry_pb2.GetAliasResponse(event=alias_event(1 if request.HasField("at_time") else 2, 1))

    async def ListAliasEvents(
        self, request: registry_pb2.ListAliasEventsRequest, _: object
    ) -> registry_pb2.ListAliasEventsResponse:
        sequence = int(request.page_token or 1)
        named = 3 - sequence if self.swapped_events else sequence
        return registry_pb2.ListAliasEventsResponse(
            events=[alias_event(named, named)], next_page_token="2" if sequence == 1 else ""
        )


def job(state: launcher_pb2.JobState, *, message: str = "") -> launcher_pb2.Job:
    job = launcher_pb2.Job(
        id="j-1", tenant="local", request_id="once", model="r8", state=state, message=message, submitted_by="operator"
    )
    job.create_time.FromJsonString("2026-05-01T09:00:00Z")
    job.progress.stage = "train"
    job.progress.num_steps = 620
    job.progress.metrics["train_loss"] = 0.5
    if state == launcher_pb2.JOB_STATE_SUCCEEDED:
        job.published_version, job.published_root_sha256 = 2, DIGEST
    return job


class Launcher:
    def __init__(self) -> None:
        self.last_state = launcher_pb2.JOB_STATE_SUCCEEDED
        self.submitted: list[launcher_pb2.SubmitJobRequest] = []
        self.num_cuts = 0

    async def SubmitJob(self, request: launcher_pb2.SubmitJobRequest, _: object) -> launcher_pb2.SubmitJobResponse:
        self.submitted.append(request)
        if "nonsense" in request.recipe:
            raise InvalidArgumentError("recipe: unknown key 'nonsense' at line 1")
        return launcher_pb2.SubmitJobResponse(job=job(launcher_pb2.JOB_STATE_PENDING), created=True)

    async def WatchJob(
        self, _request: launcher_pb2.WatchJobRequest, _: object
    ) -> AsyncIterator[launcher_pb2.WatchJobResponse]:
        yield launcher_pb2.WatchJobResponse(job=job(launcher_pb2.JOB_STATE_RUNNING))
        if self.num_cuts > 0:
            self.num_cuts -= 1
            raise UnavailableError("the server is stopping; watch again")
        message = "data.train: no such file" if self.last_state == launcher_pb2.JOB_STATE_FAILED else ""
        yield launcher_pb2.WatchJobResponse(job=job(self.last_state, message=message))

    async def ListJobs(self, _request: launcher_pb2.ListJobsRequest, _: object) -> launcher_pb2.ListJobsResponse:
        return launcher_pb2.ListJobsResponse(jobs=[job(launcher_pb2.JOB_STATE_SUCCEEDED)])

    async def GetJob(self, request: launcher_pb2.GetJobRequest, _: object) -> launcher_pb2.GetJobResponse:
        if request.id != "j-1":
            raise NotFoundError(f"no job {request.id!r}")
        return launcher_pb2.GetJobResponse(job=job(launcher_pb2.JOB_STATE_RUNNING))

    async def CancelJob(self, _request: launcher_pb2.CancelJobRequest, _: object) -> launcher_pb2.CancelJobResponse:
        return launcher_pb2.CancelJobResponse(job=job(launcher_pb2.JOB_STATE_CANCELLED))

    async def ReadJobLog(
        self, _request: launcher_pb2.ReadJobLogRequest, _: object
    ) -> AsyncIterator[launcher_pb2.ReadJobLogResponse]:
        yield launcher_pb2.ReadJobLogResponse(data=b"epoch 1\n")
        yield launcher_pb2.ReadJobLogResponse(data=b"epoch 2\n")


class Worker:
    """Says each of its reports, then waits to be left."""

    def __init__(self) -> None:
        self.reports = [[self.version(worker_pb2.LOAD_STATE_READY)]]
        self.num_cuts = 0

    @staticmethod
    def version(state: worker_pb2.LoadState, reason: str = "", *, number: int = 2) -> worker_pb2.LoadedVersion:
        return worker_pb2.LoadedVersion(
            tenant="local", model="r8", number=number, root_sha256=DIGEST, state=state, reason=reason
        )

    async def WatchLoaded(
        self, _request: worker_pb2.WatchLoadedRequest, _: object
    ) -> AsyncIterator[worker_pb2.WatchLoadedResponse]:
        if self.num_cuts > 0:
            self.num_cuts -= 1
            raise UnavailableError("the server is stopping; watch again")
        for versions in self.reports:
            yield worker_pb2.WatchLoadedResponse(versions=versions)
        await asyncio.Event().wait()


class Monitor:
    def __init__(self) -> None:
        self.report: monitor_pb2.GetReportResponse | None = None
        self.usage = monitor_pb2.GetUsageResponse()
        self.usage_requests: list[monitor_pb2.GetUsageRequest] = []

    async def GetUsage(self, request: monitor_pb2.GetUsageRequest, _: object) -> monitor_pb2.GetUsageResponse:
        self.usage_requests.append(request)
        return self.usage

    async def GetReport(self, request: monitor_pb2.GetReportRequest, _: object) -> monitor_pb2.GetReportResponse:
        if self.report is not None:
            return self.report
        if request.model != "r8" or request.version == 9:
            return monitor_pb2.GetReportResponse(freshness=monitor_pb2.ReportFreshness())
        measures = monitor_pb2.Measures(
            num_predictions=4,
            latency=monitor_pb2.LatencyQuantiles(p50_ms=9, p90_ms=14, p99_ms=22, max_ms=40, relative_error=0.01),
            predictions_by_label={"earn": 4},
            num_labelled=4,
            num_correct=3,
            accuracy=0.75,
            confusion=[monitor_pb2.ConfusionCell(true_label="earn", predicted_label="earn", count=3)],
        )
        report = monitor_pb2.VersionReport(model=request.model, version=2, arm="stable", total=measures)
        return monitor_pb2.GetReportResponse(versions=[report], freshness=monitor_pb2.ReportFreshness())
