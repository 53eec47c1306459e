# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The spare process: taken when a model that needs torch starts again, replaced when it dies, ended at the end."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from dragoman_worker.ports import ModelFiles

FILES = ModelFiles(folder=Path("/"), sha256_by_path={}, architecture="rnn")
ROW = np.array([1, 2], dtype=np.int32)


async def spare_of(launcher, *, other_than: int = 0):
    async with asyncio.timeout(20):
        while launcher._spare is None or launcher._spare.pid == other_than:  # noqa: ASYNC110 - only tests ask
            await asyncio.sleep(0.005)
    return launcher._spare


@pytest.fixture
async def runners(launcher):
    yield launcher.runners
    await launcher.close()
    for runner in launcher.runners:
        await runner.close()


async def test_spare_becomes_the_next_process_and_another_stands_by(launcher, runners):
    await launcher.launch(FILES)
    spare = await spare_of(launcher)
    await runners[0].close()
    second = await launcher.launch(FILES)
    assert second.pid == spare.pid
    assert (await second.score([ROW])).tolist() == [[3, 2]]
    assert (await spare_of(launcher)).pid != second.pid


async def test_killed_spare_is_replaced_and_never_used(launcher, runners):
    await launcher.launch(FILES)
    spare = await spare_of(launcher)
    os.kill(spare.pid, signal.SIGKILL)
    await spare.wait_ended()
    second = await launcher.launch(FILES)
    assert second.pid != spare.pid
    assert (await second.score([ROW])).tolist() == [[3, 2]]
    await spare_of(launcher, other_than=spare.pid)


async def test_models_without_torch_have_no_spare(launcher, runners):
    await launcher.launch(ModelFiles(folder=Path("/"), sha256_by_path={}, architecture="linear"))
    assert launcher._refilling is None


async def test_close_ends_the_spare(launcher, runners):
    await launcher.launch(FILES)
    spare = await spare_of(launcher)
    await launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(spare.pid, 0)
