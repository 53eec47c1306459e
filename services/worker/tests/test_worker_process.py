# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The worker as a process of its own, against a registry's gRPC face: start, serve, survive, drain."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from dragoman.inference.v1 import worker_pb2, worker_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_worker.settings import WorkerSettings
from inference import oip_pb2, oip_pb2_grpc


def request() -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest(model_name="r8", model_version="1")
    for name, values in (("token_ids", [3, 5, 7]), ("lengths", [3])):
        message.inputs.add(name=name, datatype="INT32", shape=[len(values)])
        message.raw_input_contents.append(np.array(values, dtype="<i4").tobytes())
    return message


@pytest.fixture
async def worker(start_worker):
    """The process and a channel to it as the gateway."""
    return await start_worker()


async def until_ready(channel) -> worker_pb2.LoadedVersion:
    call = worker_pb2_grpc.WorkerServiceStub(channel).WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=60)
    async for message in call:
        if [one.state for one in message.versions] == [worker_pb2.LOAD_STATE_READY]:
            call.cancel()
            return message.versions[0]
    raise AssertionError("the watch ended")


async def until_load(channel, num_rows: int) -> None:
    call = worker_pb2_grpc.WorkerServiceStub(channel).WatchLoaded(worker_pb2.WatchLoadedRequest(), timeout=60)
    async for message in call:
        if message.load.num_waiting + message.load.num_running == num_rows:
            call.cancel()
            return
    raise AssertionError("the watch ended")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
async def test_worker_serves_survives_kills_and_drains(world, worker, linear_package):
    process, channel = worker
    world.point(world.publish(1, linear_package(1)))
    await until_ready(channel)
    oip = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
    with calling_as("local"):
        first = await oip.ModelInfer(request(), timeout=10)
        (model_pid,) = children(process.pid)
        os.kill(model_pid, signal.SIGKILL)
        # Sent after the kill, so outside: it waits for the restarted process.
        again = await oip.ModelInfer(request(), timeout=20)
        assert again.raw_output_contents == first.raw_output_contents
        (new_pid,) = children(process.pid)
        assert new_pid != model_pid
        # Calls under way when the worker is told to stop are answered.
        os.kill(new_pid, signal.SIGSTOP)
        calls = [asyncio.ensure_future(oip.ModelInfer(request(), timeout=20)) for _ in range(50)]
        await until_load(channel, 50)
        process.send_signal(signal.SIGTERM)
        os.kill(new_pid, signal.SIGCONT)
        answers = await asyncio.gather(*calls)
    assert {bytes(answer.raw_output_contents[0]) for answer in answers} == set(first.raw_output_contents)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert not Path(f"/proc/{new_pid}").exists()  # noqa: ASYNC240


async def test_worker_refuses_settings_that_cannot_work():
    environment = {"PATH": os.environ["PATH"], "DRAGOMAN_WORKER_MAX_BATCHES": "3"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragoman_worker", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    for name in ("MAX_BATCHES: no such setting", "REGISTRY_TARGET: required", "CACHE_FOLDER: required"):
        assert name in errors.decode()


def test_every_setting_is_in_the_readme():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    missing = [
        name for name in WorkerSettings.__dataclass_fields__ if name != "server" and f"`{name.upper()}`" not in readme
    ]
    assert missing == []
