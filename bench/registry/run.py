# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry costs on S3: a large version published and pulled, beside the bare MinIO client in the same run.

    python bench/registry/run.py [--mib 256] [--rounds 3]

    bare     fput_object and fget_object of the same file, by the minio package
    publish  hash the file, PublishVersion over gRPC to a registry process on that MinIO
    stream   DownloadFile from the registry, hashed and written to a file
    presigned  the object's presigned URL, hashed and written to a file

All on one machine, in turns; printed are medians, their ratios to the bare client, and the registry's peak memory.
"""

import argparse
import asyncio
import functools
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import urllib3

from dragoman.common.v1 import signed_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_models import package
from dragoman_models.tensors import write_tensors
from dragoman_registry import layout
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from services.registry.tests.registry_process import Home
from tests.parts.minio import MinioServer, running

MIB = 1 << 20
TIMEOUT_S = 300


HYPERPARAMETERS = {"vocabulary_size": 9, "ngram_max": 1, "num_features": 1, "sublinear_tf": True, "temperature": 1.0}


def small_files() -> dict[str, bytes]:
    config = package.ModelConfig(
        architecture=package.Architecture(name="linear", hyperparameters=HYPERPARAMETERS),
        labels=("a", "b"),
        tokenizer=package.TokenizerFile(backend="basic_english"),
        input_limits=package.InputLimits(max_text_bytes=65536),
    )
    weights = write_tensors(
        {
            "ngram_keys": np.zeros(1, np.int64),
            "idf": np.ones(1, np.float32),
            "coefficients": np.zeros((1, 2), np.float32),
            "intercept": np.zeros(2, np.float32),
        }
    )
    return {
        "model.json": package.to_json(config),
        "weights.safetensors": weights,
        "tokenizer.json": b"{}",
        "card.md": b"card",
    }


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def publish(stub: Any, weights: Path, size_bytes: int, model: str) -> str:
    """Hash and publish, as a client does; returns the weights' digest."""
    small = small_files()
    sha256 = await asyncio.to_thread(digest_of, weights)
    files = [
        signed_pb2.FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in small.items()
    ]
    files.append(signed_pb2.FileDigest(path="vectors.bin", size_bytes=size_bytes, sha256=sha256))

    async def messages() -> AsyncIterator[pb.PublishVersionRequest]:
        yield pb.PublishVersionRequest(header=pb.PublishHeader(model=model, publish_id="p1", files=files))
        for path, data in small.items():
            yield pb.PublishVersionRequest(chunk=pb.FileChunk(path=path, offset_bytes=0, data=data))
        with weights.open("rb") as file:
            offset = 0
            while data := file.read(MIB):
                chunk = pb.FileChunk(path="vectors.bin", offset_bytes=offset, data=data)
                yield pb.PublishVersionRequest(chunk=chunk)
                offset += len(data)

    reply = await stub.PublishVersion(messages(), timeout=TIMEOUT_S)
    if reply.version.number != 1:
        raise AssertionError(reply)
    return sha256


async def stream(stub: Any, model: str, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    call = stub.DownloadFile(pb.DownloadFileRequest(model=model, number=1, path="vectors.bin"), timeout=TIMEOUT_S)
    with target.open("wb") as file:
        async for reply in call:
            digest.update(reply.data)
            file.write(reply.data)
    if digest.hexdigest() != sha256:
        raise AssertionError("another digest")


def presigned(url: str, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with urllib3.PoolManager() as http, target.open("wb") as file:
        reply = http.request("GET", url, preload_content=False)
        for data in reply.stream(MIB):
            digest.update(data)
            file.write(data)
        reply.release_conn()
    if digest.hexdigest() != sha256:
        raise AssertionError("another digest")


async def timed_s(work: Any) -> float:
    started_s = time.perf_counter()
    await work
    return time.perf_counter() - started_s


def peak_rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def measure(server: MinioServer, folder: Path, mib: int, rounds: int) -> dict[str, float]:
    bucket = server.make_bucket()
    admin = server.admin()
    weights = folder / "weights"
    with weights.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    home = Home(folder)
    home.settings |= {
        "STORE_URL": f"s3://{bucket}?endpoint={server.endpoint}&region={server.region}",
        "S3_ACCESS_KEY_ID": server.access_key,
        "S3_SECRET_ACCESS_KEY": server.secret_key,
    }
    settings = S3Settings(s3_access_key_id=Secret(server.access_key), s3_secret_access_key=Secret(server.secret_key))
    store = S3Store(Bucket(name=bucket, endpoint=server.endpoint, region=server.region), settings)
    times: dict[str, list[float]] = {"bare_put": [], "publish": [], "bare_get": [], "stream": [], "presigned": []}
    target = folder / "pulled"

    def threaded(function: Callable[..., Any], *arguments: Any) -> Any:
        return asyncio.to_thread(functools.partial(function, *arguments))

    async with home.served() as (process, stub):
        idle_mib = peak_rss_mib(process.pid)
        for turn in range(rounds):
            times["bare_put"].append(await timed_s(threaded(admin.fput_object, bucket, f"bare-{turn}", str(weights))))
            started_s = time.perf_counter()
            sha256 = await publish(stub, weights, mib * MIB, f"m{turn}")
            times["publish"].append(time.perf_counter() - started_s)
            times["bare_get"].append(await timed_s(threaded(admin.fget_object, bucket, f"bare-{turn}", str(target))))
            times["stream"].append(await timed_s(stream(stub, f"m{turn}", target, sha256)))
            url = await store.presigned_url(layout.blob("acme", sha256), lifetime_s=60)
            times["presigned"].append(await timed_s(threaded(presigned, url, target, sha256)))
        peak_mib = peak_rss_mib(process.pid)
    store.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "mib": mib,
        "rounds": rounds,
        **{f"{name}_s": value for name, value in medians.items()},
        "publish_ratio": medians["publish"] / medians["bare_put"],
        "stream_ratio": medians["stream"] / medians["bare_get"],
        "presigned_ratio": medians["presigned"] / medians["bare_get"],
        "registry_idle_mib": idle_mib,
        "registry_peak_mib": peak_mib,
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running(Path(name) / "minio") as server:
        figures = asyncio.run(measure(server, Path(name), arguments.mib, arguments.rounds))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
