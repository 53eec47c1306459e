# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines with real child processes around a stub classifier."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dragoman_worker.admission import AdmissionLimits
from dragoman_worker.batcher import BatchLimits
from dragoman_worker.engine import Engine, EngineLimits
from dragoman_worker.ports import ModelFiles
from dragoman_worker.process_runner import ProcessLauncher, ProcessRunner, child_environment

STUB = Path(__file__).parent / "stub_model_process.py"


class RecordingLauncher(ProcessLauncher):
    """Keeps the runners that it started, so that a test can send them signals."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.runners: list[ProcessRunner] = []

    async def launch(self, files):
        runner = await super().launch(files)
        self.runners.append(runner)
        return runner

    @property
    def pid(self) -> int:
        return self.runners[-1].pid


def engine_limits(**changes) -> EngineLimits:
    batch = {"max_batch_size": 8, "max_batch_tokens": 4096, "max_wait_ms": 5, "min_remaining_ms": 1}
    admission = {"max_waiting_requests": 4000, "max_waiting_tokens": 400_000, "max_tenant_share": 1.0}
    rest = {"max_batch_ms": 20_000, "max_restart_delay_ms": 500}
    return EngineLimits(
        batch=BatchLimits(**{key: changes.get(key, value) for key, value in batch.items()}),
        admission=AdmissionLimits(**{key: changes.get(key, value) for key, value in admission.items()}),
        **{key: changes.get(key, value) for key, value in rest.items()},
    )


@pytest.fixture
def launcher() -> RecordingLauncher:
    return RecordingLauncher(
        environment=child_environment(os.environ, 1),
        num_threads=1,
        load_timeout_s=60,
        command=(sys.executable, str(STUB)),
    )


@pytest.fixture
async def make_engine(launcher, tmp_path) -> AsyncIterator[Callable[..., Awaitable[Engine]]]:
    engines: list[Engine] = []

    async def make(*, start: bool = True, digest: str = "", **changes) -> Engine:
        async def files() -> ModelFiles:
            return ModelFiles(folder=tmp_path, sha256_by_path={"model.json": digest})

        engine = Engine("local/stub/1", launcher=launcher, files=files, limits=engine_limits(**changes))
        engines.append(engine)
        if start:
            await engine.start()
        return engine

    yield make
    await asyncio.gather(*(engine.close() for engine in engines))
