# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a registry with many models answers: 1,000 models of 10 versions and one alias of 5 moves each, on MinIO.

    python bench/registry/scale.py [--models 1000] [--versions 10] [--moves 5] [--calls 2000]

The store is written directly, in threads, by the registry's own signing code: signed versions, their by-digest claims,
and the chains of the aliases with their heads. The files themselves are left out, because no call here reads one. Then
a registry process starts on it (its start is timed: everything is read and verified), and each call is asked for
--calls times over gRPC, 4 at a time, models and versions at random. Printed is one JSON object: milliseconds at the
50th and 99th percentile, and how late a timer of the asking process woke meanwhile.
"""

import argparse
import asyncio
import hashlib
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from google.protobuf.timestamp_pb2 import Timestamp

from bench.registry.run import small_files
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_models.file_digest import FileDigest
from dragoman_models.head import sign_head
from dragoman_models.package import ModelConfig, parse_model_config
from dragoman_models.record import Lineage
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_registry import layout
from dragoman_registry.alias import Move, StoredEvent, next_record
from dragoman_registry.chain_head import alias_place, head_of
from dragoman_registry.claim import new_claim
from dragoman_registry.model_version import PublishRequest, StoredVersion, manifest_of, sign_version, version_object
from services.registry.tests.registry_process import Home
from tests.parts.minio import MinioServer, running

TENANT = "acme"
ALIAS = "prod"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CONCURRENCY = 4
BUILD_THREADS = 8
TIMEOUT_S = 60
TIMER_S = 0.005


def model_name(number: int) -> str:
    return f"model-{number:04}"


def versions_of(model: str, num_versions: int, config: ModelConfig, key: SigningKey) -> list[StoredVersion]:
    """Sign versions of one model that differ in their card."""
    files = {path: data for path, data in small_files().items() if path != "card.md"}
    found = []
    for number in range(1, num_versions + 1):
        card = f"{model} {number}".encode()
        listed = [
            FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in sorted({**files, "card.md": card}.items())
        ]
        request = PublishRequest(
            tenant=TENANT,
            model=model,
            publish_id=f"p{number}",
            number=number,
            files=tuple(listed),
            lineage=Lineage(job_id=f"job-{number}", data_sha256="a" * 64, code_revision="b" * 40),
            publisher="trainer:trainer",
        )
        at = BEGIN + timedelta(hours=number)
        manifest = manifest_of(request, config, number=number, publish_time=at, nonce=f"{number:032x}")
        found.append(sign_version(manifest, key))
    return found


def chain_of(model: str, versions: list[StoredVersion], num_moves: int, key: SigningKey) -> list[StoredEvent]:
    """Sign the moves of one alias, a day apart."""
    chain: list[StoredEvent] = []
    for move in range(num_moves):
        manifest = versions[move % len(versions)].manifest
        wish = Move(
            tenant=TENANT,
            model=model,
            alias=ALIAS,
            version=manifest.number,
            reason="better",
            expected_sequence=None,
            request_id=f"q{move}",
            moved_by="operator:operator",
        )
        now = BEGIN + timedelta(days=1 + move)
        record = next_record(chain, wish, manifest, gate_summary="not worse", now=now, nonce=f"{move:032x}")
        chain.append(StoredEvent(record=record, envelope=sign_alias_record(record, key)))
    return chain


def objects_of(model: str, num_versions: int, num_moves: int, config: ModelConfig, key: SigningKey) -> dict[str, bytes]:
    versions = versions_of(model, num_versions, config, key)
    objects = {}
    for version in versions:
        number = version.manifest.number
        objects[layout.claim(TENANT, model, version.manifest.root_sha256, 1)] = new_claim(number)
        objects[layout.version(TENANT, model, number)] = version_object(version)
    chain = chain_of(model, versions, num_moves, key)
    for event in chain:
        objects[layout.alias_event(TENANT, model, ALIAS, event.record.sequence)] = event.envelope
    place = alias_place(TENANT, model, ALIAS)
    objects[place.key] = sign_head(head_of(place, chain[-1].record), key)
    return objects


def build(server: MinioServer, bucket: str, key: SigningKey, *, models: int, versions: int, moves: int) -> int:
    """Write the store; returns how many objects."""
    admin = server.admin()
    config = parse_model_config(small_files()["model.json"])

    def write(number: int) -> int:
        objects = objects_of(model_name(number), versions, moves, config, key)
        for name, data in objects.items():
            admin.put_object(bucket, name, io.BytesIO(data), len(data))
        return len(objects)

    with ThreadPoolExecutor(BUILD_THREADS) as threads:
        return sum(threads.map(write, range(models)))


async def lateness(late_ms: list[float]) -> None:
    """Note how late a timer of this process wakes: what the machine's other work adds to every figure."""
    while True:
        due_s = time.perf_counter() + TIMER_S
        await asyncio.sleep(TIMER_S)
        late_ms.append((time.perf_counter() - due_s) * 1e3)


async def percentiles(call: Callable[[], Awaitable[Any]], num_calls: int) -> dict[str, float]:
    """Ask num_calls times, CONCURRENCY at a time, and a tenth of it before, unmeasured."""
    left, times_ms = num_calls, []

    async def ask() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started_s = time.perf_counter()
            await call()
            times_ms.append((time.perf_counter() - started_s) * 1e3)

    for warm_up in range(num_calls // 10):
        del warm_up
        await call()
    late_ms: list[float] = []
    timer = asyncio.create_task(lateness(late_ms))
    started_s = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))
    took_s = time.perf_counter() - started_s
    timer.cancel()
    late_ms.sort()
    times_ms.sort()
    return {
        "p50_ms": round(times_ms[len(times_ms) // 2], 2),
        "p99_ms": round(times_ms[int(len(times_ms) * 0.99)], 2),
        "max_ms": round(times_ms[-1], 2),
        "calls_per_s": round(num_calls / took_s),
        "timer_late_p99_ms": round(late_ms[int(len(late_ms) * 0.99)], 2),
    }


class Calls:
    """Each call that is measured, on models, versions and times drawn at random."""

    def __init__(self, stub: Any, *, models: int, versions: int, moves: int) -> None:
        self._stub, self._chance = stub, random.Random(7)
        self._num_models, self._num_versions, self._num_moves = models, versions, moves

    def all(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        return {
            "ListModels": self.list_models,
            "ListVersions": self.list_versions,
            "GetVersion": self.get_version,
            "GetVersion by alias": self.get_version_by_alias,
            "GetAlias": self.get_alias,
            "GetAlias at a time": self.get_alias_then,
            "ListAliasEvents": self.list_events,
        }

    def model(self) -> str:
        return model_name(self._chance.randrange(self._num_models))

    async def list_models(self) -> None:
        token = self._chance.choice(["", self.model()])
        reply = await self._stub.ListModels(pb.ListModelsRequest(page_token=token), timeout=TIMEOUT_S)
        check(bool(token) or len(reply.models) == min(100, self._num_models), reply)

    async def list_versions(self) -> None:
        reply = await self._stub.ListVersions(pb.ListVersionsRequest(model=self.model()), timeout=TIMEOUT_S)
        check(len(reply.versions) == min(100, self._num_versions), reply)

    async def get_version(self) -> None:
        request = pb.GetVersionRequest(model=self.model(), number=1 + self._chance.randrange(self._num_versions))
        check((await self._stub.GetVersion(request, timeout=TIMEOUT_S)).version.number == request.number, request)

    async def get_version_by_alias(self) -> None:
        request = pb.GetVersionRequest(model=self.model(), alias=ALIAS)
        reply = await self._stub.GetVersion(request, timeout=TIMEOUT_S)
        check(reply.version.number == 1 + (self._num_moves - 1) % self._num_versions, reply)

    async def get_alias(self) -> None:
        request = pb.GetAliasRequest(model=self.model(), alias=ALIAS)
        reply = await self._stub.GetAlias(request, timeout=TIMEOUT_S)
        check(reply.event.sequence == self._num_moves, reply)

    async def get_alias_then(self) -> None:
        move, at = self._chance.randrange(self._num_moves), Timestamp()
        at.FromDatetime(BEGIN + timedelta(days=1 + move, hours=1))
        request = pb.GetAliasRequest(model=self.model(), alias=ALIAS, at_time=at)
        reply = await self._stub.GetAlias(request, timeout=TIMEOUT_S)
        check(reply.event.sequence == 1 + move, reply)

    async def list_events(self) -> None:
        request = pb.ListAliasEventsRequest(model=self.model(), alias=ALIAS)
        reply = await self._stub.ListAliasEvents(request, timeout=TIMEOUT_S)
        check(len(reply.events) == min(100, self._num_moves), reply)


def check(is_right: bool, reply: Any) -> None:
    if not is_right:
        raise AssertionError(str(reply)[:500])


def rss_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return round(int(status.split(f"{name}:")[1].split()[0]) / 1024, 1)


async def measure(server: MinioServer, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    size = {"models": arguments.models, "versions": arguments.versions, "moves": arguments.moves}
    bucket = server.make_bucket()
    home = Home(folder)
    home.settings |= {
        "STORE_URL": f"s3://{bucket}?endpoint={server.endpoint}&region={server.region}",
        "S3_ACCESS_KEY_ID": server.access_key,
        "S3_SECRET_ACCESS_KEY": server.secret_key,
    }
    async with home.served() as (process, _):
        figures: dict[str, Any] = {**size, "rss_empty_mib": rss_mib(process.pid, "VmRSS")}
    started_s = time.perf_counter()
    key = SigningKey.load(home.folder / "signing.pem")
    figures["objects"] = await asyncio.to_thread(lambda: build(server, bucket, key, **size))
    figures["build_s"] = round(time.perf_counter() - started_s, 1)
    started_s = time.perf_counter()
    async with home.served() as (process, stub):
        figures["cold_start_s"] = round(time.perf_counter() - started_s, 1)
        figures["rss_mib"] = rss_mib(process.pid, "VmRSS")
        for name, call in Calls(stub, **size).all().items():
            figures[name] = await percentiles(call, arguments.calls)
            print(name, figures[name], file=sys.stderr)
        figures["rss_after_mib"] = rss_mib(process.pid, "VmRSS")
        figures["rss_peak_mib"] = rss_mib(process.pid, "VmHWM")
    return figures


def main() -> None:
    """Build, measure and print one JSON object; the exit status is 1 when a 99th percentile is above the limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--moves", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--limit-ms", type=float, default=50.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running(Path(name) / "minio") as server:
        figures = asyncio.run(measure(server, Path(name), arguments))
    print(json.dumps(figures, indent=1))
    slow = {name for name, value in figures.items() if isinstance(value, dict) and value["p99_ms"] > arguments.limit_ms}
    if slow:
        sys.exit(f"above {arguments.limit_ms} ms: {', '.join(sorted(slow))}")


if __name__ == "__main__":
    main()
