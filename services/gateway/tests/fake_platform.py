# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Registry, tokenizer and worker over real gRPC, for tests: real signatures and real tensors over fakes in memory."""

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import jwt
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.duration_pb2 import Duration

from dragoman.common.v1.signed_pb2 import SignedRecord
from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman.registry.v1 import registry_pb2, registry_pb2_grpc
from dragoman.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from dragoman_common.auth import current_caller
from dragoman_common.errors import NotFoundError, UnavailableError, UnimplementedError
from dragoman_common.server import Service
from dragoman_common.testing import TestKeys, running
from dragoman_gateway.memory import MemoryTokenizer, scores_of
from dragoman_gateway.ports import EncodedRows
from dragoman_models.file_digest import FileDigest, root_sha256
from dragoman_models.gate_basis import LostEvent
from dragoman_models.package import InputLimits, TokenizerFile
from dragoman_models.record import AliasRecord, VersionManifest
from dragoman_models.signing import SigningKey, sign_alias_record, sign_manifest
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone
from dragoman_models.verify import payload_sha256
from inference import oip_pb2, oip_pb2_grpc

LABELS = ("acq", "earn", "grain")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEARTBEAT = Duration(seconds=5)
ISSUER, AUDIENCE = "dragoman-laptop", "dragoman-gateway"


def manifest_of(number, *, tenant="local", model="r8"):
    content = f"{tenant}/{model}/{number}".encode()
    files = (FileDigest(path="model.json", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()),)
    return VersionManifest(
        tenant=tenant,
        model=model,
        number=number,
        root_sha256=root_sha256(files),
        files=files,
        task="text-classification",
        architecture="linear",
        labels=LABELS,
        input_limits=InputLimits(max_text_bytes=1_000, max_tokens=128),
        tokenizer=TokenizerFile(backend="basic_english"),
        publish_time=NOW,
        publisher="operator",
        publish_id=f"p{number}",
        nonce="n1",
    )


class Feed:
    """What a watch sends: everything so far, then whatever comes."""

    def __init__(self):
        self._queues = []

    def cut(self, error):
        """End every watch with an error."""
        self.push(error)

    def push(self, message):
        for queue in self._queues:
            queue.put_nowait(message)

    async def follow(self, first):
        queue = asyncio.Queue()
        self._queues.append(queue)
        try:
            for message in first():
                yield message
            while True:
                message = await queue.get()
                if isinstance(message, Exception):
                    raise message
                yield message
        finally:
            self._queues.remove(queue)


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self):
        self.key = SigningKey.generate()
        self.feed = Feed()
        self.versions, self.events, self.history = {}, {}, {}
        self.tombstones = {}
        self.key_chain = None
        self.seen = []
        self.num_get_version = 0
        self.page_size, self.step_s = 2, 1

    def publish(self, manifest, *, key=None):
        self.versions[manifest.tenant, manifest.model, manifest.number] = sign_manifest(manifest, key or self.key)

    def withdraw(self, manifest, *, key=None, **changes):
        """Add a tombstone; with another key it is forged."""
        facts = {
            "tenant": manifest.tenant,
            "model": manifest.model,
            "version": manifest.number,
            "root_sha256": manifest.root_sha256,
            "reason": "leaked rows",
            "withdrawn_by": "operator:ada",
            "withdraw_time": NOW,
            "nonce": "n1",
        }
        envelope = sign_tombstone(TombstoneRecord(**(facts | changes)), key or self.key)
        self.tombstones[manifest.tenant, manifest.model, manifest.number] = envelope

    async def GetKeyList(self, request, context):
        if self.key_chain is None:
            raise UnimplementedError("of before there were lists")
        return registry_pb2.GetKeyListResponse(key_chain=self.key_chain)

    def sign_again(self, key, alias="prod"):
        """Put the newest event of r8's alias there under another key, and send nothing."""
        name = ("local", "r8", alias)
        record, _ = self.events[name]
        self.events[name] = self.history[name][-1] = (record, sign_alias_record(record, key))

    def accept_loss(self, manifest, num_lost, **changes):
        """Lose the newest events of prod, and accept that: an event in the first lost one's place says so."""
        name = (manifest.tenant, manifest.model, "prod")
        lost, _ = self.events[name]
        accepted = LostEvent(sequence=lost.sequence, sha256=payload_sha256(lost))
        for _ in range(num_lost):
            self.lose(*name)
        self.move(manifest, **({"accepted_loss": accepted} | changes))

    def move(self, manifest, *, alias="prod", key=None, keep=True, accepted_loss=None):
        """Point an alias at a version; with another key the event is forged, and with keep=False only sent."""
        name = (manifest.tenant, manifest.model, alias)
        before = self.events.get(name)
        record = AliasRecord(
            tenant=manifest.tenant,
            model=manifest.model,
            alias=alias,
            sequence=before[0].sequence + 1 if before else 1,
            stable_version=manifest.number,
            stable_root_sha256=manifest.root_sha256,
            moved_by="operator",
            move_time=NOW + timedelta(seconds=self.step_s * before[0].sequence if before else 0),
            request_id="r1",
            nonce="n1",
            previous_sha256=payload_sha256(before[0]) if before else "",
            accepted_loss=accepted_loss,
        )
        envelope = sign_alias_record(record, key or self.key)
        if keep:
            self.events[name] = (record, envelope)
            self.history.setdefault(name, []).append((record, envelope))
        self.feed.push(self._message(record, envelope))

    def _message(self, record, envelope):
        event = registry_pb2.AliasEvent(
            tenant=record.tenant, model=record.model, alias=record.alias, record=SignedRecord(envelope=envelope)
        )
        return registry_pb2.WatchAliasesResponse(event=event, heartbeat_period=HEARTBEAT)

    async def ListAliasEvents(self, request, context):
        chain = self.history[current_caller().tenant, request.model, request.alias]
        start, size = int(request.page_token or 0), min(request.page_size, self.page_size)
        events = [
            registry_pb2.AliasEvent(
                sequence=place,
                record=SignedRecord(envelope=envelope),
                accepted_loss=loss and registry_pb2.LostEvent(sequence=loss.sequence, sha256=loss.sha256),
            )
            for place, (record, envelope) in enumerate(chain, 1)
            for loss in [record.accepted_loss]
        ]
        token = str(start + size) if start + size < len(chain) else ""
        return registry_pb2.ListAliasEventsResponse(events=events[start : start + size], next_page_token=token)

    async def ListModels(self, request, context):
        tenant = current_caller().tenant
        names = sorted({name[1] for name in self.events if name[0] == tenant})
        after = [name for name in names if name > request.page_token]
        page = [
            registry_pb2.ModelSummary(
                model=model,
                aliases=[
                    registry_pb2.AliasEvent(alias=name[2], sequence=record.sequence)
                    for name, (record, _) in self.events.items()
                    if name[:2] == (tenant, model)
                ],
            )
            for model in after[: self.page_size]
        ]
        token = after[self.page_size - 1] if len(after) > self.page_size else ""
        return registry_pb2.ListModelsResponse(models=page, next_page_token=token)

    def lose(self, tenant="local", model="r8", alias="prod"):
        """The newest event of an alias is gone from the store, or all of them."""
        name = (tenant, model, alias)
        self.history[name].pop()
        if self.history[name]:
            self.events[name] = self.history[name][-1]
        else:
            del self.events[name]

    async def GetVersion(self, request, context):
        self.num_get_version += 1
        name = (current_caller().tenant, request.model, request.number)
        if name not in self.versions:
            raise NotFoundError("no such version")
        version = registry_pb2.ModelVersion(
            labels=["for", "display"], manifest=SignedRecord(envelope=self.versions[name])
        )
        if name in self.tombstones:
            version.tombstone.record.envelope = self.tombstones[name]
        return registry_pb2.GetVersionResponse(version=version)

    async def WatchAliases(self, request, context):
        assert request.all_tenants
        seen = {(item.tenant, item.model, item.alias): item.sequence for item in request.seen}
        self.seen.append(seen)

        def first():
            for item in request.seen:
                record = self.events.get((item.tenant, item.model, item.alias), (None,))[0]
                held = record.sequence if record else 0
                if held < item.sequence or (held == item.sequence and payload_sha256(record) != item.sha256):
                    ahead = registry_pb2.AheadAlias(
                        tenant=item.tenant, model=item.model, alias=item.alias, held_sequence=held
                    )
                    yield registry_pb2.WatchAliasesResponse(ahead=ahead, heartbeat_period=HEARTBEAT)
            for name, entry in self.events.items():
                missed = self.history[name][seen[name] :] if name in seen else [entry]
                yield from (self._message(*each) for each in missed)
            yield registry_pb2.WatchAliasesResponse(is_snapshot_complete=True, heartbeat_period=HEARTBEAT)

        async for message in self.feed.follow(first):
            yield message


class Tokenizer(tokenizer_pb2_grpc.TokenizerServiceServicer):
    def __init__(self):
        self.inner = MemoryTokenizer()
        self.tenants = []
        self.latency_s = 0.0
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def Encode(self, request, context):
        self.tenants.append(current_caller().tenant)
        await self.is_open.wait()
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        rows = await self.inner.encode(None, list(request.texts))
        return tokenizer_pb2.EncodeResponse(
            token_ids=rows.token_ids, lengths=rows.lengths, truncated=rows.truncated, num_unknown=rows.num_unknown
        )


class Worker(worker_pb2_grpc.WorkerServiceServicer, oip_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self):
        self.feed = Feed()
        self.states = {}
        self.failures = []
        self.calls = []
        self.trailer = ()
        self.was_called = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()

    def hold(self, manifest, state="READY"):
        self.states[manifest.tenant, manifest.model, manifest.number, manifest.root_sha256] = state
        self.feed.push(self._report())

    def _report(self):
        return worker_pb2.WatchLoadedResponse(
            versions=[
                worker_pb2.LoadedVersion(
                    tenant=tenant, model=model, number=number, root_sha256=digest, state=f"LOAD_STATE_{state}"
                )
                for (tenant, model, number, digest), state in self.states.items()
            ],
            heartbeat_period=HEARTBEAT,
        )

    async def WatchLoaded(self, request, context):
        async for message in self.feed.follow(lambda: [self._report()]):
            yield message

    async def ModelInfer(self, request, context):
        caller = current_caller()
        self.calls.append((caller.tenant, request.model_name, request.model_version))
        context.set_trailing_metadata(self.trailer)
        self.was_called.set()
        await self.is_open.wait()
        if self.failures:
            raise self.failures.pop(0)
        held = (
            caller.tenant,
            request.model_name,
            int(request.model_version),
            request.parameters["dragoman_digest"].string_param,
        )
        if held not in self.states:
            raise NotFoundError("not held here")
        rows = EncodedRows(
            token_ids=np.frombuffer(request.raw_input_contents[0], "<i4"),
            lengths=np.frombuffer(request.raw_input_contents[1], "<i4"),
            truncated=(),
            num_unknown=(),
        )
        scores_NC = scores_of(rows, len(LABELS))
        tensor = oip_pb2.ModelInferResponse.InferOutputTensor(name="scores", datatype="FP32", shape=scores_NC.shape)
        return oip_pb2.ModelInferResponse(outputs=[tensor], raw_output_contents=[scores_NC.tobytes()])


class Platform:
    """All three, one user key, and what a gateway needs to be told about them."""

    def __init__(self, folder):
        self.folder = folder
        self.keys = TestKeys()
        self.user_key = Ed25519PrivateKey.generate()
        self.registry, self.tokenizer, self.worker = Registry(), Tokenizer(), Worker()
        self.targets = {}

    def publish(self, number, **names):
        """A version that is signed, held by the worker, and pointed at by prod."""
        manifest = manifest_of(number, **names)
        self.registry.publish(manifest)
        self.worker.hold(manifest)
        self.registry.move(manifest)
        return manifest

    def token(self, *, lifetime_s=600, issued_ago_s=0, **claims):
        now = datetime.now(UTC) - timedelta(seconds=issued_ago_s)
        times = {"iat": now, "exp": now + timedelta(seconds=lifetime_s)}
        named = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "tenant": "local"}
        return jwt.encode(named | times | claims, self.user_key, algorithm="EdDSA", headers={"kid": "laptop"})

    def environment(self):
        """The gateway's environment; its files are written on the way, once."""
        if not (self.folder / "gateway.pem").exists():
            self.keys.trust.save(self.folder / "trust.json")
            self.keys.key("gateway").save(self.folder)
            self.registry.key.save(self.folder / "signing.pem", self.folder / "signing.pub")
        jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self.user_key.public_key())) | {"kid": "laptop"}
        (self.folder / "users.jwks.json").write_text(json.dumps({"keys": [jwk]}))
        wiring = {
            "LISTEN": "127.0.0.1:0",
            "READY_FILE": self.folder / "grpc.ready",
            "HTTP_LISTEN": "127.0.0.1:0",
            "HTTP_READY_FILE": self.folder / "http.ready",
            "KEY_FILE": self.folder / "gateway.pem",
            "TRUST_FILE": self.folder / "trust.json",
            "REGISTRY_KEYS_FILE": self.folder / "signing.pub",
            "USER_JWKS_FILE": self.folder / "users.jwks.json",
            "REGISTRY_TARGET": self.targets["registry"],
            "TOKENIZER_TARGET": self.targets["tokenizer"],
            "WORKER_TARGETS": self.targets["worker"],
            "EVENTS_URL": f"sqlite://{self.folder}/events.db",
            "REFLECTION": "true",
            "DRAIN_GRACE_MS": "1000",
        }
        return {f"DRAGOMAN_GATEWAY_{name}": str(value) for name, value in wiring.items()}


def _policy(service, *methods):
    return {f"/{service}/{method}": frozenset({"gateway"}) for method in methods}


def _methods(descriptor):
    return [method.name for service in descriptor.services_by_name.values() for method in service.methods]


@asynccontextmanager
async def platform_running(folder):
    """Serve all three; the gateway is the caller's to start."""
    made = Platform(folder)
    table = {
        "registry": [(registry_pb2_grpc.add_RegistryServiceServicer_to_server, made.registry, registry_pb2)],
        "tokenizer": [(tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server, made.tokenizer, tokenizer_pb2)],
        "worker": [
            (worker_pb2_grpc.add_WorkerServiceServicer_to_server, made.worker, worker_pb2),
            (oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, made.worker, oip_pb2),
        ],
    }
    async with AsyncExitStack() as stack:
        for name, entries in table.items():
            policy = {}
            for _, _, module in entries:
                for service in module.DESCRIPTOR.services_by_name.values():
                    policy |= _policy(service.full_name, *_methods(module.DESCRIPTOR))
            services = [Service(register=register, servicer=servicer) for register, servicer, _ in entries]
            server = await stack.enter_async_context(running(services, policy, name=name, keys=made.keys))
            made.targets[name] = server.target
        yield made


def unavailable(text="gone"):
    return UnavailableError(text)
