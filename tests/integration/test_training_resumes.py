# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer's own process, killed as a dying node does it or told to stop as a drained one does it, and a registry.

Each next process is what a Job's next pod is: the same job, an empty working folder, and only the registry in common.
"""

import asyncio
import json
import os
import random
import re
import sys
from pathlib import Path

import pytest

from dragoman.registry.v1 import data_pb2, data_pb2_grpc, registry_pb2, registry_pb2_grpc
from dragoman_client.data_store import data_files
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from services.registry.tests.registry_process import Home

JOB = "job-" + "a" * 32
NUM_KILLS = int(os.environ.get("DRAGOMAN_TEST_NUM_TRAINER_KILLS", "3"))
SEED = int(os.environ.get("DRAGOMAN_TEST_SEED", "20261124"))
DEADLINE_S = 240.0
TOPICS = {"fruit": ("apple", "pear", "plum"), "metal": ("iron", "zinc", "tin"), "river": ("rhine", "elbe", "oder")}
RECIPE = """
format: dragoman.recipe/1
name: toy-rnn
seed: 13
data: {name: "store:toy@DIGEST", dev_fraction: 0.2, dev_seed: 0}
tokenizer: {backend: basic_english, max_vocabulary: 1000, min_frequency: 1, max_tokens: 64}
rnn: {cell: lstm, hidden_size: 24, num_layers: 2, bidirectional: true, pooling: max_mean, embedding_dropout: 0.2,
      dropout: 0.3, embedding_size: 24}
training: {epochs: 12, batch_size: 16, optimizer: adamw, learning_rate: 0.01, schedule: one_cycle, weight_decay: 0.01,
           clip_norm: 1.0, label_smoothing: 0.05}
"""


def write_data(folder: Path) -> None:
    draw = random.Random(5)
    folder.mkdir()
    for part, num_rows in (("train", 300), ("test", 60)):
        rows = []
        for number in range(num_rows):
            label = list(TOPICS)[number % 3]
            words = [draw.choice(("the", "of", "and", *TOPICS[label])) for _ in range(draw.randrange(4, 30))]
            rows.append(f"{label}\t{' '.join([draw.choice(TOPICS[label]), *words])}")
        (folder / f"{part}.tab").write_text("\n".join(["category\ttext", *rows]) + "\n")


class Pods:
    """Starts trainers, each in a folder of its own."""

    def __init__(self, home, folder, registry_target, digest):
        self.folder, self.num_started = folder, 0
        (folder / "recipe.yaml").write_text(RECIPE.replace("DIGEST", digest))
        self.keys, self.target = home.keys, registry_target

    def environment(self, job_id, model, scratch):
        token = self.keys.key("launcher").token(
            audience=("launcher", "registry"),
            clock=SystemClock(),
            tenant="acme",
            identity="trainer",
            job_id=job_id,
            job_model=model,
        )
        (scratch / "token").write_text(token)
        told = {
            "RECIPE_FILE": self.folder / "recipe.yaml",
            "DATA_DIR": scratch / "no-data",
            "OUTPUT_DIR": scratch / "output",
            "RESULT_FILE": scratch / "result.json",
            "TOKEN_FILE": scratch / "token",
            "JOB_ID": job_id,
            "MODEL": model,
            "REGISTRY_TARGET": self.target,
            "CHECKPOINT_INTERVAL_S": "0",
            "CHECKPOINT_INTERVAL_STEPS": "5",
        }
        own = {f"DRAGOMAN_TRAINER_{name}": str(value) for name, value in told.items()}
        return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | own

    async def start(self, job_id=JOB, model="toy"):
        self.num_started += 1
        scratch = self.folder / f"pod-{self.num_started}"
        scratch.mkdir()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dragoman_trainer"),
            env=self.environment(job_id, model, scratch),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return process, scratch

    async def to_the_end(self, **how):
        process, scratch = await self.start(**how)
        async with asyncio.timeout(DEADLINE_S):
            out, log = await process.communicate()
        assert process.returncode == 0, log.decode()[-3000:]
        metrics = json.loads(out.splitlines()[-1])
        return metrics, json.loads((scratch / "result.json").read_text()), log.decode()


async def saved_steps(process):
    """Each checkpoint that the process tells of, as it is saved."""
    while line := await process.stderr.readline():
        entry = json.loads(line)
        if entry["message"] == "checkpoint saved":
            yield entry["step"]


async def put(stub, folder):
    files = data_files(folder)
    listed = [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]
    parts = [data_pb2.PutDataSetRequest(header=data_pb2.DataSetHeader(name="toy", files=listed))]
    for file in files:
        chunk = data_pb2.DataChunk(path=file.path, data=(folder / file.path).read_bytes())
        parts.append(data_pb2.PutDataSetRequest(chunk=chunk))
    return (await stub.PutDataSet(iter(parts))).data_set.sha256


@pytest.fixture
async def pods(tmp_path):
    write_data(tmp_path / "toy")
    (tmp_path / "registry").mkdir()
    home = Home(tmp_path / "registry")
    async with home.served():
        target = f"127.0.0.1:{json.loads(home.ready.read_bytes())['port']}"
        tokens = home.keys.tokens("operator", tenant="acme")
        async with connect(target, audience="registry", tokens=tokens) as channel:
            digest = await put(data_pb2_grpc.DataServiceStub(channel), tmp_path / "toy")
            pods = Pods(home, tmp_path, target, digest)
            pods.registry = registry_pb2_grpc.RegistryServiceStub(channel)
            yield pods


async def test_a_killed_training_ends_with_the_same_weights_and_two_pods_make_one_version(pods):
    draw = random.Random(SEED)
    whole, _, _ = await pods.to_the_end(job_id="job-" + "b" * 32, model="whole")

    reached = []
    for _ in range(NUM_KILLS):
        process, _ = await pods.start()
        num_saved, last = draw.randrange(1, 8), 0
        async with asyncio.timeout(DEADLINE_S):
            async for step in saved_steps(process):
                last, num_saved = step, num_saved - 1
                if not num_saved:
                    break
            assert not num_saved, "it ended before it was killed"
            try:
                await asyncio.wait_for(process.wait(), draw.random() * 0.3)
            except TimeoutError:
                process.kill()
            await process.wait()
        assert process.returncode == -9
        reached.append(last)
    assert reached == sorted(set(reached)), "a pod began behind the one before it"

    # The kubelet lost sight of one and started another: both run to the end.
    ends = await asyncio.gather(pods.to_the_end(), pods.to_the_end())

    for metrics, result, log in ends:
        assert "going on from a checkpoint" in log
        assert metrics["weights_sha256"] == whole["weights_sha256"]
        assert result["published_version"] == 1
    # One more, that comes when all is done: it says so, and trains nothing.
    process, scratch = await pods.start()
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert json.loads((scratch / "result.json").read_text())["published_version"] == 1
    versions = (await pods.registry.ListVersions(registry_pb2.ListVersionsRequest(model="toy"))).versions
    assert [version.number for version in versions] == [1]
    weights = next(file.sha256 for file in versions[0].files if file.path == "weights.safetensors")
    assert weights == whole["weights_sha256"]
    assert versions[0].lineage.job_id == JOB
    assert "store:toy@" in versions[0].lineage.recipe


async def test_a_training_that_is_told_to_stop_loses_no_step_and_ends_with_the_same_weights(pods):
    draw = random.Random(SEED)
    whole, _, _ = await pods.to_the_end(job_id="job-" + "b" * 32, model="whole")

    went_on_from = [0]
    for _ in range(NUM_KILLS):
        process, scratch = await pods.start()
        async with asyncio.timeout(DEADLINE_S):
            num_saved = draw.randrange(1, 5)
            async for _ in saved_steps(process):
                num_saved -= 1
                if not num_saved:
                    break
            process.terminate()
            _, rest = await process.communicate()
        # 3 is none of the codes that end a Job for good: its next pod comes.
        assert process.returncode == 3, rest.decode()[-3000:]
        *_, last = rest.decode().splitlines()
        stopped_after = int(re.fullmatch(r"cancelled: the process was asked to stop, after step (\d+)", last)[1])
        assert json.loads((scratch / "result.json").read_text())["outcome"] == "cancelled"
        assert stopped_after > went_on_from[-1]

        following, _ = await pods.start()
        async with asyncio.timeout(DEADLINE_S):
            while (entry := json.loads(await following.stderr.readline()))["message"] != "going on from a checkpoint":
                pass
        following.kill()
        await following.communicate()
        assert entry["step"] == stopped_after
        went_on_from.append(stopped_after)

    metrics, result, _ = await pods.to_the_end()
    assert metrics["weights_sha256"] == whole["weights_sha256"]
    assert result["published_version"] == 1
