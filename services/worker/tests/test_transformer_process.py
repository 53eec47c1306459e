# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A transformer's model process: a fork that has torch already, whose scores do not depend on the batch."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.package import Architecture, ModelConfig, TokenizerFile, to_json
from dragoman_models.tensors import write_tensors
from dragoman_models.transformer_shape import TransformerHyperparameters, tensor_specs
from dragoman_worker import convert
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_launcher import ProcessLauncher, child_environment
from inference import oip_pb2

VOCABULARY_SIZE = 50
MAX_POSITIONS = 512
HYPERPARAMETERS = TransformerHyperparameters(
    vocabulary_size=VOCABULARY_SIZE,
    embedding_size=16,
    hidden_size=16,
    intermediate_size=32,
    num_layers=2,
    num_heads=4,
    max_positions=MAX_POSITIONS,
)


def weights_of(hyperparameters: TransformerHyperparameters, num_labels: int) -> bytes:
    generator = np.random.default_rng(5)
    return write_tensors(
        {
            # Norms are near one: far from it, all texts would get the same scores.
            name: generator.normal("norm.weight" in name, 0.4 if len(spec.shape) > 1 else 0.1, spec.shape).astype(
                np.float32
            )
            for name, spec in tensor_specs(hyperparameters, num_labels).items()
        }
    )


@pytest.fixture
def files(package) -> dict[str, bytes]:
    return package("transformer", HYPERPARAMETERS.to_mapping(), weights_of(HYPERPARAMETERS, 3))


@pytest.fixture
async def launch(tmp_path):
    launcher = ProcessLauncher(environment=child_environment(os.environ, 1), num_threads=1, load_timeout_s=120)
    runners = []

    async def start(files: dict[str, bytes]):
        for path, data in files.items():
            (tmp_path / path).write_bytes(data)
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        model = ModelFiles(folder=tmp_path, sha256_by_path=digests, architecture="transformer")
        runners.append(await launcher.launch(model))
        return runners[-1]

    yield start
    for runner in runners:
        await runner.close()
    await launcher.close()


def parent_command(pid: int) -> str:
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return Path(f"/proc/{parent}/cmdline").read_bytes().decode()


@pytest.mark.slow
async def test_forked_process_scores_alike_alone_and_beside_other_texts(launch, files):
    runner = await launch(files)
    assert "fork_server" in parent_command(runner.pid)
    generator = np.random.default_rng(7)
    lengths = (1, 10, 500, *generator.integers(1, 80, 17))
    texts = [generator.integers(0, VOCABULARY_SIZE, size=n).astype(np.int32) for n in lengths]
    alone = np.concatenate([await runner.score([text]) for text in texts])
    assert np.ptp(alone, axis=0).max() > 0.1
    worst = 0.0
    for _ in range(200):
        chosen = generator.choice(len(texts), size=generator.integers(2, 9), replace=False)
        scores = await runner.score([texts[index] for index in chosen])
        worst = max(worst, float(np.abs(scores - alone[chosen]).max()))
    assert worst <= 1e-5


@pytest.mark.slow
async def test_row_beyond_the_positions_fails_alone(launch, files):
    runner = await launch(files)
    with pytest.raises(InvalidArgumentError, match="row 0: has 513 tokens, the model reads 512"):
        await runner.score([np.ones(MAX_POSITIONS + 1, dtype=np.int32)])
    assert (await runner.score([np.ones(MAX_POSITIONS, dtype=np.int32)])).shape == (1, 3)


@pytest.mark.slow
async def test_encoder_without_a_head_answers_vectors(launch):
    hyperparameters = replace(HYPERPARAMETERS, pooling="mean", head_activation="none", normalises=True)
    config = ModelConfig(
        task="embedding",
        architecture=Architecture(name="transformer", hyperparameters=hyperparameters.to_mapping()),
        labels=(),
        tokenizer=TokenizerFile(backend="huggingface"),
    )
    runner = await launch({"model.json": to_json(config), "weights.safetensors": weights_of(hyperparameters, 0)})
    assert runner.num_labels == 16
    rows = [np.arange(1, length, dtype=np.int32) for length in (2, 40)]
    vectors = await runner.score(rows)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0], (await runner.score(rows[:1]))[0], atol=1e-5)


def test_the_answer_is_named_by_the_task():
    request = oip_pb2.ModelInferRequest(model_name="m", model_version="1")
    response = convert.infer_response(
        request, np.ones((2, 3), np.float32), "d", output=convert.output_name("embedding")
    )
    assert [(tensor.name, list(tensor.shape)) for tensor in response.outputs] == [("embedding", [2, 3])]
    assert convert.output_name("text-classification") == "scores"
    request.outputs.add(name="scores")
    limits = convert.CallLimits(max_rows=1, max_tokens=1, max_row_tokens=1, vocabulary_size=None)
    with pytest.raises(InvalidArgumentError, match="this model answers 'embedding' only"):
        convert.rows_from_pb(request, limits, output="embedding")
