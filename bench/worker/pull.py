# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What it costs a worker to pull a version from MinIO, beside the bare MinIO client in the same run.

    python bench/worker/pull.py [--mib 1024] [--rounds 5] [--connections 4]

    bare   fget_object of the same file, by the minio package, not verified
    url    Loader.prepare: GetFileUrl, ranges from the store, hashed and written once, linked
    stream the same without URLs: DownloadFile through the registry

Each pull is a process of its own, so that its peak memory is its own. In turns, on one machine; printed are medians,
the ratios to the bare client, and peak memory in MiB. The worker checks the file's digest, the bare client does not.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench" / "registry")]


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def pull_bare(plan: dict[str, Any]) -> float:
    from minio import Minio

    client = Minio(plan["address"], plan["access_key"], plan["secret_key"], secure=False, region=plan["region"])
    started_s = time.perf_counter()
    client.fget_object(plan["bucket"], "bare", plan["target"])
    return time.perf_counter() - started_s


async def pull_verified(plan: dict[str, Any], *, has_urls: bool) -> float:
    from dragoman_common.channel import connect
    from dragoman_common.service_keys import KeyTokens, ServiceKey
    from dragoman_models.verify import VerifyingKeys, verify_manifest
    from dragoman_worker import loader
    from dragoman_worker.cache import Cache
    from dragoman_worker.file_url import FileUrlReader
    from dragoman_worker.registry_client import RegistryClient

    if not has_urls:
        loader.MIN_URL_BYTES = 1 << 60
    tokens = KeyTokens(ServiceKey.load(Path(plan["folder"]) / "worker.pem"))
    async with connect(plan["registry"], audience="registry", tokens=tokens, max_message_bytes=4 << 20) as channel:
        registry = RegistryClient(channel, FileUrlReader())
        keys = VerifyingKeys.load(Path(plan["folder"]) / "signing.pub")
        envelopes = await registry.version("acme", "m", 1)
        manifest = verify_manifest(envelopes.manifest, keys, tenant="acme", model="m", number=1)
        cache = Cache(Path(plan["target"]), max_bytes=8 << 30)
        started_s = time.perf_counter()
        await loader.Loader(registry, cache).prepare(manifest)
        return time.perf_counter() - started_s


def child(how: str, plan: dict[str, Any]) -> None:
    from dragoman_worker import file_url

    file_url.NUM_CONNECTIONS = plan["connections"]
    hashed_s = time_hashing()
    taken_s = pull_bare(plan) if how == "bare" else asyncio.run(pull_verified(plan, has_urls=how == "url"))
    print(json.dumps({"s": taken_s, "peak_mib": peak_mib(), "hash_s": sum(hashed_s)}))


def time_hashing() -> list[float]:
    """Every piece's time from now on. It runs beside the transfer, so it is no part of a sum."""
    from dragoman_models.verify_files import StreamCheck

    times: list[float] = []
    add = StreamCheck.add

    def timed(self: StreamCheck, chunk: bytes | memoryview) -> None:
        started_s = time.perf_counter()
        add(self, chunk)
        times.append(time.perf_counter() - started_s)

    StreamCheck.add = timed  # type: ignore[method-assign]
    return times


async def run_child(how: str, plan: dict[str, Any]) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--child", how, json.dumps(plan), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{how} failed")
    await asyncio.to_thread(remove, Path(plan["target"]))
    found: dict[str, float] = json.loads(out)
    return found


def remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


async def measure(folder: Path, mib: int, rounds: int, connections: int) -> dict[str, float]:
    from run import MIB, publish

    from services.registry.tests.registry_process import Home
    from tests.parts.minio import running

    with running(folder / "minio") as server:
        bucket = server.make_bucket()
        weights = folder / "weights"
        with weights.open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
        server.admin().fput_object(bucket, "bare", str(weights))
        home = Home(folder)
        home.keys.key("worker").save(folder)
        home.settings |= {
            "STORE_URL": f"s3://{bucket}?endpoint={server.endpoint}&region={server.region}",
            "S3_ACCESS_KEY_ID": server.access_key,
            "S3_SECRET_ACCESS_KEY": server.secret_key,
        }
        async with home.served() as (_, stub):
            await publish(stub, weights, mib * MIB, "m")
            plan = {
                "address": server.address,
                "access_key": server.access_key,
                "secret_key": server.secret_key,
                "region": server.region,
                "bucket": bucket,
                "connections": connections,
                "folder": str(folder),
                "target": str(folder / "pulled"),
                "registry": f"127.0.0.1:{json.loads(home.ready.read_bytes())['port']}",
            }
            found: dict[str, list[dict[str, float]]] = {"bare": [], "url": [], "stream": []}
            for _ in range(rounds):
                for how, rows in found.items():
                    rows.append(await run_child(how, plan))
    figures: dict[str, float] = {"mib": mib, "rounds": rounds, "connections": connections}
    for how, rows in found.items():
        figures[f"{how}_s"] = statistics.median(row["s"] for row in rows)
        figures[f"{how}_min_s"] = min(row["s"] for row in rows)
        figures[f"{how}_peak_mib"] = max(row["peak_mib"] for row in rows)
    figures["url_hash_s"] = statistics.median(row["hash_s"] for row in found["url"])
    for how in ("url", "stream"):
        figures[f"{how}_of_bare"] = figures[f"{how}_s"] / figures["bare_s"]
    return figures


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], json.loads(arguments.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        figures = asyncio.run(measure(Path(name), arguments.mib, arguments.rounds, arguments.connections))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
