# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a load consists of, and how much of it is verification.

    python bench/worker/load.py [--model linear|rnn|large] [--mib 1024] [--rounds 5]

    fetch      DownloadFile from a registry in this process over loopback gRPC (small models; for large files: pull.py)
    signature  the manifest's, verified by the front
    hash       of every file: SHA-256 by the front while it arrives, BLAKE3 by the model process of what it parses
    link       from the cache to the version's folder, under the cache's lock
    start      the model process, up to its first file: what is left of the launch
    read, parse, warm-up  in the model process

`cold` is a load with an empty cache, `hot` one from a cache whose bytes are in the page cache: then nothing is fetched,
and the front hashes only model.json. large is a linear model of --mib. Printed are medians in ms, JSON objects.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
# As the model process has it; before numpy and torch look.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import setting
from blake3 import blake3

from dragoman_common.service_keys import KeyTokens
from dragoman_models import linear
from dragoman_models.architecture import load_classifier
from dragoman_models.package import MODEL_FILE, WEIGHTS_FILE, parse_model_config
from dragoman_models.verify import verify_manifest
from dragoman_models.verify_files import StreamCheck
from dragoman_worker.cache import Cache
from dragoman_worker.loader import Loader
from dragoman_worker.package_reader import read_checked, read_package
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_launcher import ProcessLauncher, child_environment


def large_package(mib: int) -> dict[str, bytes]:
    """A linear model of about so many MiB: 8 + 4 + 3 * 4 bytes a feature."""
    num_features = (mib << 20) // 24
    hyperparameters = linear.LinearHyperparameters(
        vocabulary_size=1 << 13, ngram_max=2, num_features=num_features, sublinear_tf=True
    )
    generator = np.random.default_rng(1)
    keys = np.arange(2, num_features + 2, dtype=np.int64)
    idf = generator.random(num_features, dtype=np.float32)
    coefficients = generator.random((num_features, 3), dtype=np.float32)
    weights = linear.dump(linear.Vectoriser(hyperparameters, keys, idf), coefficients, np.zeros(3, dtype=np.float32))
    return setting.world.package("linear", hyperparameters.to_mapping(), weights)


class Clock:
    """Milliseconds by part, of one round."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - started_s) * 1000


@contextmanager
def hashing_timed(clock: Clock) -> Iterator[None]:
    """Time what the front hashes while it fetches."""
    add = StreamCheck.add

    def timed(self: StreamCheck, chunk: bytes | memoryview) -> None:
        with clock.part("hash_front"):
            add(self, chunk)

    StreamCheck.add = timed  # type: ignore[method-assign]
    yield
    StreamCheck.add = add  # type: ignore[method-assign]


def child_parts(files: ModelFiles, clock: Clock) -> None:
    """What the model process does, here, to see its parts."""
    with clock.part("read_and_hash"):
        content = read_package(files, keep=frozenset({MODEL_FILE, WEIGHTS_FILE}))
    with clock.part("hash_child"):
        for data in content.values():
            blake3(data, max_threads=blake3.AUTO).digest()
    with clock.part("parse"):
        classifier = load_classifier(parse_model_config(content[MODEL_FILE]), content[WEIGHTS_FILE])
    with clock.part("warm_up"):
        classifier.warm_up()


async def one_load(here: Any, loader: Loader, launcher: ProcessLauncher, envelope: bytes) -> tuple[Clock, Any]:
    clock = Clock()
    with clock.part("load"):
        with clock.part("signature"):
            manifest = verify_manifest(envelope, here.keys, tenant="local", model="r8", number=1)
        with hashing_timed(clock), clock.part("prepare"):
            files = await loader.prepare(manifest)
        with clock.part("config"):
            read_checked(files, MODEL_FILE)
        with clock.part("launch"):
            runner = await launcher.launch(files)
    await runner.close()
    child_parts(files, clock)
    return clock, manifest


def summary(clocks: list[Clock]) -> dict[str, float]:
    median = {name: statistics.median(one.ms.get(name, 0.0) for one in clocks) for name in clocks[0].ms}
    median.setdefault("hash_front", 0.0)
    in_child = median["read_and_hash"] + median["parse"] + median["warm_up"]
    parts = {
        "load": median["load"],
        "fetch_and_link": median["prepare"] - median["hash_front"],
        "signature": median["signature"],
        "hash_front": median["hash_front"],
        "hash_child": median["hash_child"],
        "read": median["read_and_hash"] - median["hash_child"],
        "start": median["launch"] - in_child,
        "parse": median["parse"],
        "warm_up": median["warm_up"],
    }
    verification = parts["signature"] + parts["hash_front"] + parts["hash_child"]
    return {name: round(value, 1) for name, value in parts.items()} | {
        "verification_percent": round(100 * verification / parts["load"], 1)
    }


async def measure(name: str, files: dict[str, bytes], rounds: int) -> dict[str, Any]:
    here = setting.world.World()
    here.publish(1, files)
    stub = setting.registry_stub.RegistryStub(here.registry)
    service = setting.Service(
        register=setting.registry_stub.registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=stub
    )
    envelope = here.registry.manifests["local", "r8", 1]
    launcher = ProcessLauncher(environment=child_environment(os.environ, 1), num_threads=1, load_timeout_s=300)
    found: dict[str, list[Clock]] = {"cold": [], "hot": []}
    async with setting.running([service], setting.registry_stub.POLICY, name="registry") as registry:
        from dragoman_worker.file_url import FileUrlReader
        from dragoman_worker.registry_client import RegistryClient

        tokens = KeyTokens(registry.keys.key("worker"))
        async with setting.connect(registry.target, audience="registry", tokens=tokens) as channel:
            client = RegistryClient(channel, FileUrlReader())
            for turn in range(rounds + 1):
                with tempfile.TemporaryDirectory() as folder:
                    cache = Cache(Path(folder), max_bytes=1 << 40)
                    cold, manifest = await one_load(here, Loader(client, cache), launcher, envelope)
                    # Another worker of the node: the store has been checked, nothing is fetched.
                    other = Cache(Path(folder), max_bytes=1 << 40)
                    hot, _ = await one_load(here, Loader(client, other), launcher, envelope)
                    cache.close()
                    other.close()
                # The first starts the fork server, and is warm-up.
                if turn:
                    found["cold"].append(cold)
                    found["hot"].append(hot)
    await launcher.close()
    size = sum(file.size_bytes for file in manifest.files)
    return {"model": name, "mib": round(size / 2**20, 2), "rounds": rounds} | {
        which: summary(clocks) for which, clocks in found.items()
    }


def main() -> None:
    """Measure and print JSON objects."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("linear", "rnn", "large"))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for name in [arguments.model] if arguments.model else ["linear", "rnn", "large"]:
        files = large_package(arguments.mib) if name == "large" else setting.package(name)
        print(json.dumps(asyncio.run(measure(name, files, arguments.rounds))), flush=True)


if __name__ == "__main__":
    main()
