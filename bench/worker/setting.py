# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What both measurements are set in: a worker process with one small model, fed by a registry in this process.

Owns the start and the end of it, and the calls. The model's weights are random: speed does not depend on them.
"""

import asyncio
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import grpc
import numpy as np

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common.channel import connect
from dragoman_common.server import Service
from dragoman_common.testing import running
from inference import oip_pb2

TESTS = Path(__file__).parents[2] / "services" / "worker" / "tests"


def sibling(name: str) -> ModuleType:
    """A module of the worker's tests, which is on no import path."""
    spec = importlib.util.spec_from_file_location(f"worker_tests_{name}", TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world = sibling("world")
registry_stub = sibling("registry_stub")


def rnn_package() -> dict[str, bytes]:
    """The shape of the demo's recipe: 2 bidirectional layers of 128."""
    from dragoman_models import rnn
    from dragoman_models.rnn_shape import RnnHyperparameters

    hyperparameters = RnnHyperparameters(vocabulary_size=world.VOCABULARY_SIZE, embedding_size=100, hidden_size=128)
    network = rnn.RnnNetwork(hyperparameters, len(world.LABELS))
    return world.package("rnn", hyperparameters.to_mapping(), rnn.dump(network))


def package(name: str) -> dict[str, bytes]:
    """linear or rnn."""
    return rnn_package() if name == "rnn" else world.linear_package(1)


def texts(count: int, seed: int) -> list[np.ndarray]:
    """Token rows with the lengths of news texts: 5 to 128, most below 80."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(4.0, 0.7, count), 5, 128).astype(int)
    return [generator.integers(1, world.VOCABULARY_SIZE, size=length).astype("<i4") for length in lengths]


def request(row: np.ndarray) -> oip_pb2.ModelInferRequest:
    """One row, raw."""
    message = oip_pb2.ModelInferRequest(model_name="r8", model_version="1")
    for name, values in (("token_ids", row), ("lengths", np.array([row.size], dtype="<i4"))):
        message.inputs.add(name=name, datatype="INT32", shape=[values.size])
        message.raw_input_contents.append(values.tobytes())
    return message


@dataclass(frozen=True)
class Worker:
    """A running worker and a channel to it as the gateway."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel

    @property
    def model_pids(self) -> list[int]:
        """Its model processes: what its fork server has started, or else its own children."""
        own = _children(self.process.pid)
        return [pid for child in own for pid in _children(child)] or own


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def serving(files: dict[str, bytes]) -> AsyncIterator[Worker]:
    """A worker that has loaded the model."""
    here = world.World()
    stub = registry_stub.RegistryStub(here.registry)
    service = Service(register=registry_stub.registry_pb2_grpc.add_RegistryServiceServicer_to_server, servicer=stub)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running([service], registry_stub.POLICY, name="registry") as registry:
            registry.keys.key("worker").save(folder)
            registry.keys.trust.save(folder / "trust.json")
            here.key.save(folder / "signing.pem", folder / "signing.pub.pem")
            settings = {
                "KEY_FILE": folder / "worker.pem",
                "TRUST_FILE": folder / "trust.json",
                "READY_FILE": folder / "ready.json",
                "REGISTRY_TARGET": registry.target,
                "CACHE_FOLDER": folder / "cache",
                "REGISTRY_KEYS_FILE": folder / "signing.pub.pem",
                "LOG_LEVEL": "CRITICAL",
            }
            environment = os.environ | {f"DRAGOMAN_WORKER_{key}": str(value) for key, value in settings.items()}
            with (folder / "worker.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dragoman_worker", env=environment, stderr=log
                )
            try:
                here.point(here.publish(1, files))
                while not (folder / "ready.json").exists():  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(0.05)
                target = f"127.0.0.1:{json.loads((folder / 'ready.json').read_text())['port']}"
                async with connect(target, audience="worker", tokens=registry.keys.tokens("gateway")) as channel:
                    await _until_ready(channel)
                    yield Worker(process, channel)
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()


async def _until_ready(channel: grpc.aio.Channel) -> None:
    stub = worker_pb2_grpc.WorkerServiceStub(channel)
    async for message in stub.WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=120):
        if any(one.state == worker_pb2.LOAD_STATE_READY for one in message.versions):
            return
