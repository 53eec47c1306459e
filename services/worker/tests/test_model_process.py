# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The model process: which files it believes, that it ends with the front, and that padding changes no score."""

import asyncio
import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_worker.model_process import check_scores
from dragoman_worker.package_reader import read_package
from dragoman_worker.ports import ModelFailedError, ModelFiles, RunnerEndedError
from dragoman_worker.process_launcher import ProcessLauncher, child_environment

KEEP = frozenset({"model.json"})


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "version"
    (root / "sub").mkdir(parents=True)
    (root / "model.json").write_bytes(b"{}")
    (root / "sub" / "table.bin").write_bytes(b"x" * 3_000_000)
    return root


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=["sha256", "both"])
def listing(request, folder) -> Callable[[Path], ModelFiles]:
    """Lists a folder as a manifest of format 1 does, and as one of format 2."""

    def list_files(of: Path) -> ModelFiles:
        sha256_by_path = digests(of)
        blake3_by_path = {path: blake3((of / path).read_bytes()).hexdigest() for path in sha256_by_path}
        return ModelFiles(
            folder=of,
            sha256_by_path=sha256_by_path,
            blake3_by_path=blake3_by_path if request.param == "both" else {},
        )

    return list_files


def test_intact_folder_gives_the_wanted_bytes(folder, listing):
    assert read_package(listing(folder), keep=KEEP) == {"model.json": b"{}"}


@pytest.mark.parametrize("name", ["extra.txt", ".git", "sub/extra", "sub/.hidden", "MODEL.JSON"])
def test_file_that_is_not_listed_is_refused(folder, listing, name):
    listed = listing(folder)
    (folder / name).write_bytes(b"")
    with pytest.raises(DataLossError, match="not listed"):
        read_package(listed, keep=KEEP)


def test_missing_changed_and_linked_files_are_refused(folder, listing, tmp_path):
    listed = listing(folder)
    table = folder / "sub" / "table.bin"
    whole = table.read_bytes()
    table.write_bytes(whole[:-1] + b"y")
    with pytest.raises(DataLossError, match=r"sub/table\.bin: its (SHA-256|BLAKE3) is not"):
        read_package(listed, keep=KEEP)
    table.unlink()
    with pytest.raises(DataLossError, match="missing"):
        read_package(listed, keep=KEEP)
    (tmp_path / "outside").write_bytes(whole)
    table.symlink_to(tmp_path / "outside")
    with pytest.raises(DataLossError, match="cannot be opened"):
        read_package(listed, keep=KEEP)
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(DataLossError, match="not a plain file"):
        read_package(listed, keep=KEEP)


def test_either_digest_alone_refuses_a_file_that_it_is_not_of(folder):
    sha256_by_path = digests(folder)
    wrong = ModelFiles(folder=folder, sha256_by_path=sha256_by_path, blake3_by_path=sha256_by_path)
    with pytest.raises(DataLossError, match=r"model\.json: its BLAKE3 is not"):
        read_package(wrong, keep=KEEP)
    with pytest.raises(DataLossError, match="of other files"):
        read_package(replace(wrong, blake3_by_path={"model.json": sha256_by_path["model.json"]}), keep=KEEP)


def test_linked_folder_and_path_that_leaves_the_folder_are_refused(folder, listing, tmp_path):
    listed = listing(folder)
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(DataLossError, match="not listed"):
        read_package(listed, keep=KEEP)
    with pytest.raises(InvalidArgumentError):
        read_package(ModelFiles(folder=folder, sha256_by_path={"../x": "0" * 64}), keep=KEEP)


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros((2, 3), dtype=np.float32),
        np.zeros((3, 2), dtype=np.float32),
        np.zeros((3, 3), dtype=np.float64),
        np.full((3, 3), np.nan, dtype=np.float32),
    ],
)
def test_scores_of_another_shape_or_nan_are_not_passed_on(scores):
    with pytest.raises(ModelFailedError):
        check_scores(scores, num_rows=3, num_labels=3)


async def test_process_ends_when_the_front_is_killed():
    """A front that dies without a word, with its model process stopped, so that only the kernel can end it."""
    stub = str(Path(__file__).parent / "stub_model_process.py")
    script = textwrap.dedent(
        f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        from dragoman_worker.ports import ModelFiles
        from dragoman_worker.process_launcher import ProcessLauncher, child_environment
        async def main():
            launcher = ProcessLauncher(environment=child_environment(os.environ, 1), num_threads=1, load_timeout_s=60,
                                       command=(sys.executable, {stub!r}))
            runner = await launcher.launch(ModelFiles(folder=Path("/"), sha256_by_path={{}}))
            os.kill(runner.pid, signal.SIGSTOP)
            print(runner.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
        """
    )
    front = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    output, _ = await front.communicate()
    child = Path(f"/proc/{int(output)}/stat")

    def is_alive() -> bool:
        # A zombie has ended; it only waits for whoever reaps orphans here.
        return child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z"

    async with asyncio.timeout(10):
        while is_alive():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


def test_process_sees_no_key_of_the_front():
    environ = {"PATH": "/bin", "DRAGOMAN_WORKER_KEY_FILE": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert child_environment(environ, 3) == {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
    }


async def launch(tmp_path: Path, files: dict[str, bytes]):
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    launcher = ProcessLauncher(environment=child_environment(os.environ, 1), num_threads=1, load_timeout_s=120)
    return await launcher.launch(ModelFiles(folder=tmp_path, sha256_by_path=digests(tmp_path)))


async def test_linear_worker_runs_without_torch(tmp_path, linear_package):
    runner = await launch(tmp_path, linear_package(1))
    try:
        maps = Path(f"/proc/{runner.pid}/maps").read_text()  # noqa: ASYNC240 - memory
        assert "torch" not in maps
        assert "numpy" in maps
    finally:
        await runner.close()
    with pytest.raises(RunnerEndedError):
        await runner.score([np.ones(1, dtype=np.int32)])


@pytest.mark.slow
async def test_scores_beside_other_texts_equal_the_scores_alone(tmp_path, package):
    """1,000 random batches beside 1, 10 and 500-token texts, through the process."""
    import torch

    from dragoman_models import rnn
    from dragoman_models.rnn_shape import RnnHyperparameters

    torch.manual_seed(7)
    hyperparameters = RnnHyperparameters(vocabulary_size=50, embedding_size=16, hidden_size=16)
    network = rnn.RnnNetwork(hyperparameters, 3)
    runner = await launch(tmp_path, package("rnn", hyperparameters.to_mapping(), rnn.dump(network)))
    try:
        generator = np.random.default_rng(7)
        texts = [
            generator.integers(1, 50, size=n).astype(np.int32) for n in (1, 10, 500, *generator.integers(1, 80, 37))
        ]
        alone = np.concatenate([await runner.score([text]) for text in texts])
        worst = 0.0
        for _ in range(1000):
            chosen = generator.choice(len(texts), size=generator.integers(2, 9), replace=False)
            if generator.random() < 0.3:
                chosen = generator.permutation(np.union1d(chosen, [0, 1, 2]))
            scores = await runner.score([texts[index] for index in chosen])
            worst = max(worst, float(np.abs(scores - alone[chosen]).max()))
        assert worst <= 1e-5
    finally:
        await runner.close()
