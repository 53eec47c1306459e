# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry as a process of its own, on a folder and an event log: killed, started again, told nonsense."""

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_events.opening import open_log
from dragoman_events.topics import MODELS
from dragoman_models.signing import SigningKey
from services.registry.tests.registry_process import Home, numbers, stream


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.slow
async def test_killed_during_an_upload_it_lists_nothing_and_the_retry_makes_one_version(home: Home, make):
    files = make.good() | {"vectors.bin": bytes(2_000_000)}
    messages = make.upload(files, piece_bytes=500_000)
    for stop_at in (1, 3, len(messages) - 1):
        async with home.served() as (process, stub):
            assert await numbers(stub) == []
            reached = asyncio.Event()
            call = stub.PublishVersion(stream(messages, stop_at=stop_at, reached=reached), timeout=20)
            await reached.wait()
            process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.RpcError):
                await call
    async with home.served() as (process, stub):
        assert await numbers(stub) == []
        reply = await stub.PublishVersion(stream(messages), timeout=20)
        assert (reply.created, reply.version.number) == (True, 1)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with home.served() as (process, stub):
        assert await numbers(stub) == [1]
        moved = await stub.SetAlias(pb.SetAliasRequest(model="r8", alias="prod", version=1), timeout=20)
        assert moved.event.sequence == 1
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    log = open_log(home.settings["EVENTS_URL"])
    assert [record.headers["ce_type"].rpartition(b".")[2] for record in log.read(MODELS, 0, 10)] == [
        b"VersionPublished",
        b"AliasMoved",
    ]
    log.close()


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"STORE_URL": "s3://bucket"}, 1, "s3_credentials_file"),
        ({"STORE_URL": "file://relative/store"}, 1, "store_url"),
        ({"SIGNING_KEY_FILE": "/nonexistent/key.pem"}, 1, "key.pem"),
        ({"EVENTS_URL": "kafka://broker"}, 1, "kafka"),
        ({"STORE": "x"}, 2, "DRAGOMAN_REGISTRY_STORE"),
        ({"SCAN_PERIOD_S": "soon"}, 2, "SCAN_PERIOD_S"),
        ({"FILE_URL_LIFETIME_S": "0"}, 2, "file_url_lifetime_s"),
    ],
)
async def test_a_wrong_setting_ends_the_start_with_its_name(home: Home, changes, code, text):
    process = await home.spawn(**changes)
    _, stderr = await process.communicate()
    assert process.returncode == code
    assert text in stderr.decode()
    assert not home.ready.exists()


async def test_trusted_keys_without_the_signing_key_end_the_start(home: Home, tmp_path: Path):
    SigningKey.generate().save(tmp_path / "other.pem", tmp_path / "other.pub")
    process = await home.spawn(VERIFYING_KEYS_FILE=str(tmp_path / "other.pub"))
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert "other.pub" in stderr.decode()
