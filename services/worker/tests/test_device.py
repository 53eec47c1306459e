# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""DEVICE: what it asks for is what model processes compute on, or the version is not loaded."""

import dataclasses
import hashlib
import json
import os
import socket

import numpy as np
import pytest
import torch

from dragoman_common.errors import FailedPreconditionError
from dragoman_models import rnn
from dragoman_models.rnn_shape import RnnHyperparameters
from dragoman_worker import frames, process_messages
from dragoman_worker.exit_status import DEVICE_LOST
from dragoman_worker.model_process import serve
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_launcher import ProcessLauncher, child_environment
from dragoman_worker.settings import WorkerSettings

# Also where there is a GPU.
NO_GPU = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
ROW = np.array([1, 2], dtype=np.int32)


@pytest.fixture
def rnn_package(package):
    torch.manual_seed(7)
    hyperparameters = RnnHyperparameters(vocabulary_size=50, embedding_size=4, hidden_size=4)
    return package("rnn", hyperparameters.to_mapping(), rnn.dump(rnn.RnnNetwork(hyperparameters, 3)))


@pytest.fixture
async def launch(tmp_path):
    started = []

    async def start(files, device, architecture, environ=NO_GPU):
        launcher = ProcessLauncher(
            environment=child_environment(environ, 1), num_threads=1, load_timeout_s=120, device=device
        )
        started.append(launcher)
        for path, data in files.items():
            (tmp_path / path).write_bytes(data)
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        runner = await launcher.launch(ModelFiles(folder=tmp_path, sha256_by_path=digests, architecture=architecture))
        started.append(runner)
        return runner

    yield start
    for closed in reversed(started):
        await closed.close()


@pytest.mark.slow
async def test_cuda_without_a_device_is_an_error_of_the_load_and_not_a_model_on_the_cpu(launch, rnn_package):
    with pytest.raises(FailedPreconditionError, match=r"DEVICE is cuda, but .* set DEVICE to cpu \(slower\) or auto"):
        await launch(rnn_package, "cuda", "rnn")


@pytest.mark.slow
@pytest.mark.parametrize("device", ["auto", "cpu"])
async def test_without_a_device_auto_and_cpu_compute_on_the_cpu_and_say_so(launch, rnn_package, capfd, device):
    runner = await launch(rnn_package, device, "rnn")
    assert (await runner.score([ROW])).shape == (1, 3)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "model loaded" in line]
    assert {"architecture": "rnn", "device": "cpu"}.items() <= json.loads(line).items()


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
@pytest.mark.parametrize("device", ["auto", "cuda"])
async def test_with_a_device_auto_and_cuda_compute_on_it_in_forked_processes(launch, rnn_package, capfd, device):
    on_cuda = await launch(rnn_package, device, "rnn", environ=os.environ)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "model loaded" in line]
    assert json.loads(line)["device"] == "cuda"
    on_cpu = await launch(rnn_package, "cpu", "rnn")
    np.testing.assert_allclose(await on_cuda.score([ROW]), await on_cpu.score([ROW]), rtol=0, atol=1e-5)


async def test_a_linear_model_is_served_whatever_the_device(launch, linear_package):
    runner = await launch(linear_package(1), "cuda", "linear")
    assert (await runner.score([ROW])).shape == (1, 3)


def test_a_word_that_is_no_device_is_refused_with_the_settings():
    needed = {"server": None, "registry_target": "", "cache_folder": None, "registry_keys_file": None}
    assert WorkerSettings(**needed).device == "auto"
    with pytest.raises(ValueError, match="DEVICE: must be one of auto, cpu, cuda"):
        dataclasses.replace(WorkerSettings(**needed), device="gpu")


class _FailingModel:
    num_labels = 3

    def __init__(self, error) -> None:
        self._error = error

    def warm_up(self) -> None:
        """It is only later that it fails."""

    def score(self, batch):
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "replies"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), DEVICE_LOST, ["loaded", "begun"]),
        (torch.OutOfMemoryError("CUDA out of memory"), 0, ["loaded", "begun", "error"]),
    ],
)
def test_a_process_whose_device_is_lost_ends_so_that_another_one_is_started(tmp_path, error, status, replies):
    front, process = socket.socketpair()
    with front, process:
        frames.send(front, process_messages.load_request(ModelFiles(folder=tmp_path, sha256_by_path={}), 1))
        frames.send(front, *process_messages.score_request(1, [ROW]))
        front.shutdown(socket.SHUT_WR)
        assert serve(process, lambda _: _FailingModel(error)) == status
        process.close()
        seen = []
        while frame := frames.receive(front, process_messages.parse_reply, process_messages.reply_payload_bytes):
            seen.append(frame[0].WhichOneof("reply"))
    assert seen == replies
