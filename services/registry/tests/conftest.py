# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A registry in this process, on a free port, spoken to over gRPC; and packages to publish into it."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import grpc
import numpy as np
import pytest

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import data_pb2_grpc, registry_pb2_grpc
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.auth import PLATFORM, TENANT_BOUND
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.server import ServerSettings, Service
from dragoman_common.service_keys import FixedToken
from dragoman_common.testing import Running, TestKeys, running
from dragoman_events.memory import MemoryEventLog
from dragoman_models import evaluation, package
from dragoman_models.signing import SigningKey
from dragoman_models.tensors import write_tensors
from dragoman_models.verify import VerifyingKeys
from dragoman_registry.__main__ import Assembled, assemble
from dragoman_registry.catalog import Catalog
from dragoman_registry.data_servicer import DATA_POLICY
from dragoman_registry.memory import MemoryStore
from dragoman_registry.policy import POLICY
from dragoman_registry.ports import ObjectStore
from dragoman_registry.settings import RegistrySettings
from tests.parts import minio as minio_part
from tests.parts.minio import MinioServer, required

LABELS = ("acq", "earn", "grain")
TIMEOUT_S = 20
# Operators with keys of their own.
PEOPLE = ("operator.ada", "operator.bo", "operator.cy")


def evaluation_json(
    correct: Sequence[bool], *, name: str = "r8", digest: str = "0" * 64, labels: Sequence[str] = LABELS
) -> bytes:
    """An evaluation whose row i was answered rightly iff correct[i]; 60 % of the rows are of the first label."""
    truth = np.array([0 if i % 10 < 6 else 1 + i % (len(labels) - 1) for i in range(len(correct))])
    predicted = np.where(np.array(correct), truth, (truth + 1) % len(labels))
    scores = np.eye(len(labels), dtype=np.float32)[predicted]
    return evaluation.to_json([evaluation.evaluate(truth, scores, name=name, split="test", digest=digest)])


def row_bits(num_rows: int, num_wrong: int) -> list[bool]:
    return [i >= num_wrong for i in range(num_rows)]


HYPERPARAMETERS = {"vocabulary_size": 9, "ngram_max": 1, "num_features": 2, "sublinear_tf": True, "temperature": 1.0}


def linear_weights(mark: bytes, num_labels: int) -> bytes:
    """Weights that fit HYPERPARAMETERS; each mark gives other content."""
    value = int.from_bytes(hashlib.sha256(mark).digest()[:2], "big")
    size = HYPERPARAMETERS["num_features"]
    return write_tensors(
        {
            "ngram_keys": np.arange(size, dtype=np.int64),
            "idf": np.ones(size, dtype=np.float32),
            "coefficients": np.full((size, num_labels), value, dtype=np.float32),
            "intercept": np.zeros(num_labels, dtype=np.float32),
        }
    )


def package_files(
    mark: bytes = b"weights",
    *,
    labels: Sequence[str] = LABELS,
    evaluated: bytes | None = None,
    max_text_bytes: int = 65536,
    **more: bytes,
) -> dict[str, bytes]:
    config = package.ModelConfig(
        architecture=package.Architecture(name="linear", hyperparameters=HYPERPARAMETERS),
        labels=tuple(labels),
        tokenizer=package.TokenizerFile(backend="basic_english"),
        input_limits=package.InputLimits(max_text_bytes=max_text_bytes),
    )
    files = {
        "model.json": package.to_json(config),
        "weights.safetensors": linear_weights(mark, len(labels)),
        "tokenizer.json": b"{}",
        "card.md": b"",
        **more,
    }
    return files | ({"evaluation.json": evaluated} if evaluated is not None else {})


def digests(files: dict[str, bytes]) -> list[signed_pb2.FileDigest]:
    return [
        signed_pb2.FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    ]


def upload(
    files: dict[str, bytes],
    *,
    model: str = "r8",
    publish_id: str = "p1",
    number: int = 0,
    piece_bytes: int = 1 << 18,
    lineage: pb.Lineage | None = None,
) -> list[pb.PublishVersionRequest]:
    header = pb.PublishHeader(model=model, publish_id=publish_id, number=number, files=digests(files), lineage=lineage)
    messages = [pb.PublishVersionRequest(header=header)]
    for path, data in files.items():
        messages += [
            pb.PublishVersionRequest(
                chunk=pb.FileChunk(path=path, offset_bytes=start, data=data[start : start + piece_bytes])
            )
            for start in range(0, len(data), piece_bytes)
        ]
    return messages


@dataclass
class Client:
    """Calls as one identity of one tenant."""

    stub: registry_pb2_grpc.RegistryServiceStub

    async def publish(self, files: dict[str, bytes], **how) -> pb.PublishVersionResponse:
        return await self.send(upload(files, **how))

    async def send(self, messages: Sequence[pb.PublishVersionRequest]) -> pb.PublishVersionResponse:
        async def stream() -> AsyncIterator[pb.PublishVersionRequest]:
            for message in messages:
                yield message

        return await self.stub.PublishVersion(stream(), timeout=TIMEOUT_S)

    async def move(self, version: int, *, alias: str = "prod", model: str = "r8", **more) -> pb.AliasEvent:
        request = pb.SetAliasRequest(model=model, alias=alias, version=version, **more)
        return (await self.stub.SetAlias(request, timeout=TIMEOUT_S)).event

    async def get(self, number: int, *, model: str = "r8") -> pb.ModelVersion:
        return (await self.stub.GetVersion(pb.GetVersionRequest(model=model, number=number), timeout=TIMEOUT_S)).version

    async def alias(self, alias: str = "prod", *, model: str = "r8", at_time=None) -> pb.AliasEvent:
        request = pb.GetAliasRequest(model=model, alias=alias, at_time=at_time)
        return (await self.stub.GetAlias(request, timeout=TIMEOUT_S)).event

    async def say(self, version: int, kind: str, document: str | bytes, **more) -> pb.AddEvidenceResponse:
        """Add evidence to r8."""
        text = document if isinstance(document, str) else document.decode()
        request = pb.AddEvidenceRequest(**({"model": "r8", "version": version, "kind": kind, "document": text} | more))
        return await self.stub.AddEvidence(request, timeout=TIMEOUT_S)

    async def evidence(self, version: int, **more) -> list[pb.Evidence]:
        request = pb.ListEvidenceRequest(model="r8", version=version, **more)
        return list((await self.stub.ListEvidence(request, timeout=TIMEOUT_S)).evidence)

    async def gc(self, *, dry_run: bool = False) -> pb.CollectGarbageResponse:
        return await self.stub.CollectGarbage(pb.CollectGarbageRequest(dry_run=dry_run), timeout=TIMEOUT_S)

    async def withdraw(self, version: int, *, model: str = "r8", reason: str = "leaks") -> pb.Tombstone:
        request = pb.WithdrawVersionRequest(model=model, version=version, reason=reason)
        return (await self.stub.WithdrawVersion(request, timeout=TIMEOUT_S)).tombstone

    async def rule(self, *rules: pb.GateRule, **more) -> pb.GatePolicy:
        """Set r8's gate policy."""
        request = pb.SetGatePolicyRequest(**({"model": "r8", "rules": rules} | more))
        return (await self.stub.SetGatePolicy(request, timeout=TIMEOUT_S)).policy

    async def numbers(self, *, model: str = "r8") -> list[int]:
        try:
            reply = await self.stub.ListVersions(pb.ListVersionsRequest(model=model, page_size=1000), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise
        return [version.number for version in reply.versions]

    async def download(self, number: int, path: str, *, model: str = "r8", offset: int = 0) -> bytes:
        request = pb.DownloadFileRequest(model=model, number=number, path=path, offset_bytes=offset)
        return b"".join([reply.data async for reply in self.stub.DownloadFile(request, timeout=TIMEOUT_S)])


@dataclass
class Registry:
    """One running registry; start another on the same store to see what a restart would see."""

    store: ObjectStore
    key: SigningKey
    log: MemoryEventLog
    server: Running
    parts: Assembled
    num_added: int = 0

    @property
    def catalog(self) -> Catalog:
        return self.parts.catalog

    @asynccontextmanager
    async def client(self, identity: str = "operator", tenant: str = "acme") -> AsyncIterator[Client]:
        async with self.server.channel(identity, tenant=tenant) as channel:
            yield Client(registry_pb2_grpc.RegistryServiceStub(channel))

    @asynccontextmanager
    async def data(
        self, identity: str = "operator", tenant: str = "acme"
    ) -> AsyncIterator[data_pb2_grpc.DataServiceStub]:
        async with self.server.channel(identity, tenant=tenant) as channel:
            yield data_pb2_grpc.DataServiceStub(channel)

    @asynccontextmanager
    async def job_data(self, job_id: str, tenant: str = "acme") -> AsyncIterator[data_pb2_grpc.DataServiceStub]:
        """DataService as a training job calls it."""
        async with self.job_channel(job_id, tenant) as channel:
            yield data_pb2_grpc.DataServiceStub(channel)

    @asynccontextmanager
    async def job(self, job_id: str, tenant: str = "acme") -> AsyncIterator[Client]:
        """A client with the token of a training job."""
        async with self.job_channel(job_id, tenant) as channel:
            yield Client(registry_pb2_grpc.RegistryServiceStub(channel))

    @asynccontextmanager
    async def job_channel(self, job_id: str, tenant: str) -> AsyncIterator[grpc.aio.Channel]:
        token = self.server.keys.key("launcher").token(
            audience="registry", clock=SystemClock(), tenant=tenant, identity="trainer", job_id=job_id, job_model="r8"
        )
        async with connect(self.server.target, audience="registry", tokens=FixedToken(token)) as channel:
            yield channel


@dataclass
class Starter:
    """Starts registries that share a key."""

    key: SigningKey = field(default_factory=SigningKey.generate)
    keys: TestKeys = field(default_factory=lambda: TestKeys((*PLATFORM, *TENANT_BOUND, *PEOPLE)))

    @asynccontextmanager
    async def __call__(
        self,
        store: ObjectStore | None = None,
        *,
        key: SigningKey | None = None,
        trusted: VerifyingKeys | None = None,
        **changes,
    ) -> AsyncIterator[Registry]:
        unused = Path("unused")
        config = replace(
            RegistrySettings(
                server=ServerSettings(key_file=unused, trust_file=unused),
                store_url="file:///unused",
                signing_key_file=unused,
            ),
            **changes,
        )
        store, log = store or MemoryStore(), MemoryEventLog()
        key = key or self.key
        parts = assemble(config, store=store, key=key, trusted=trusted or VerifyingKeys([key.public_key]), log=log)
        await parts.upkeep.begin()
        services = [
            Service(register=registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=parts.servicer),
            Service(register=data_pb2_grpc.add_DataServiceServicer_to_server, servicer=parts.data_servicer),
        ]
        policy = {**POLICY, **DATA_POLICY}
        async with running(services, policy, name="registry", keys=self.keys) as server:
            yield Registry(store=store, key=key, log=log, server=server, parts=parts)


@pytest.fixture(scope="session")
def start() -> Starter:
    return Starter()


@pytest.fixture
async def registry(start: Starter) -> AsyncIterator[Registry]:
    async with start() as registry:
        yield registry


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[Client]:
    async with registry.client() as client:
        yield client


@pytest.fixture(scope="session")
def make() -> "Make":
    return Make()


class Make:
    """The helpers above, for tests that cannot import a conftest."""

    files: Callable[..., dict[str, bytes]] = staticmethod(package_files)
    evaluation: Callable[..., bytes] = staticmethod(evaluation_json)
    bits: Callable[..., list[bool]] = staticmethod(row_bits)
    upload: Callable[..., list[pb.PublishVersionRequest]] = staticmethod(upload)
    digests: Callable[..., list[signed_pb2.FileDigest]] = staticmethod(digests)
    labels = LABELS

    @staticmethod
    def document(kind: str, **changes) -> str:
        """Evidence of a kind as it should be, with changes."""
        content = {
            "robustness": {
                "suites": [
                    {
                        "name": "typos",
                        "digest": "a" * 64,
                        "num_rows": 1000,
                        "num_correct": 900,
                        "num_correct_clean": 970,
                    }
                ]
            },
            "measurement": {
                "hardware": "2 cores",
                "rows_per_call": 1,
                "num_calls": 1000,
                "p50_us": 900,
                "p99_us": 4000,
            },
            "approval": {"alias": "", "comment": "read the report"},
            "rollout-verdict": {"alias": "prod", "sequence": 1, "verdict": "promote", "summary": "no worse"},
        }[kind]
        return json.dumps({"format": f"dragoman.{kind}/1", **content, **changes})

    def good(self, seed: int = 0, *, num_wrong: int = 10, num_rows: int = 400) -> dict[str, bytes]:
        """A package that passes the gate; each seed gives other content."""
        return self.files(f"weights {seed}".encode(), evaluated=self.evaluation(self.bits(num_rows, num_wrong)))


@pytest.fixture(scope="session")
def minio(tmp_path_factory) -> Iterator[MinioServer]:
    """A MinIO for the whole run; what is in it is nobody's but the test that made the bucket."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("minio")
        yield required(lambda: stack.enter_context(minio_part.running(folder)))


@pytest.fixture
def mortal_minio(tmp_path) -> Iterator[MinioServer]:
    """A MinIO for one test, which may kill it."""
    with ExitStack() as stack:
        yield required(lambda: stack.enter_context(minio_part.running(tmp_path / "minio", killable=True)))


@pytest.fixture
def refused():
    """``async with refused("NOT_FOUND") as error:`` the block must end with this gRPC code."""
    return _Refused


class _Refused:
    def __init__(self, code: str, text: str = "") -> None:
        self.code, self.text, self.details = code, text, ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind, error, trace) -> bool:
        assert isinstance(error, grpc.RpcError), f"expected {self.code}, got {error!r}"
        assert error.code().name == self.code, error.details()
        self.details = error.details()
        assert self.text in self.details
        return True
