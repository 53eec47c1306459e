# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The service as a process: settings from the environment, a real registry call, drain on SIGTERM."""

import asyncio
import json
import os
import signal
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dragoman.tokenizer.v1 import tokenizer_pb2 as pb
from dragoman.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from dragoman_common.channel import connect
from dragoman_common.server import Service
from dragoman_common.settings import SettingsError, parse
from dragoman_common.testing import TestKeys, running
from dragoman_tokenizer.settings import Settings

PREFIX = "DRAGOMAN_TOKENIZER_"
REQUIRED = {"KEY_FILE": "k", "TRUST_FILE": "t", "REGISTRY_TARGET": "127.0.0.1:1", "REGISTRY_KEYS_FILE": "r"}


def environ(**changes):
    return {PREFIX + name: value for name, value in (REQUIRED | changes).items()}


async def run_once(tmp_path, *, registry_target, registry, keys):
    keys.key("tokenizer").save(tmp_path)
    keys.trust.save(tmp_path / "trust.json")
    pem = registry.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "registry.pub").write_bytes(pem)
    variables = {
        "KEY_FILE": str(tmp_path / "tokenizer.pem"),
        "TRUST_FILE": str(tmp_path / "trust.json"),
        "REGISTRY_TARGET": registry_target,
        "REGISTRY_KEYS_FILE": str(tmp_path / "registry.pub"),
        "READY_FILE": str(tmp_path / "ready.json"),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dragoman_tokenizer",
        env=clean | environ(**variables),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        lines = [json.loads(await process.stderr.readline())]
        while lines[-1]["message"] != "listening":
            lines.append(json.loads(await process.stderr.readline()))
        ready = json.loads((tmp_path / "ready.json").read_bytes())
        assert ready == {"port": lines[-1]["port"], "pid": process.pid}
        target = f"127.0.0.1:{ready['port']}"
        async with connect(target, audience="tokenizer", tokens=keys.tokens("operator")) as channel:
            request = pb.EncodeRequest(version=pb.VersionName(model="r8", number=3), texts=["ship zyzzyva"])
            reply = await TokenizerServiceStub(channel).Encode(request, wait_for_ready=True)
        process.send_signal(signal.SIGTERM)
        rest = (await process.stderr.read()).decode().splitlines()
        return reply, await process.wait(), [json.loads(line) for line in rest]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_process_serves_a_signed_version_and_drains(registry_server, tmp_path, files):
    registry, keys = registry_server.RegistryServer(), TestKeys()
    registry.publish("local", "r8", 3, files())
    service = Service(register=registry_server.pb_grpc.add_RegistryServiceServicer_to_server, servicer=registry)
    async with running([service], registry_server.POLICY, name="registry", keys=keys) as server:
        async with asyncio.timeout(60):
            reply, code, log = await run_once(tmp_path, registry_target=server.target, registry=registry, keys=keys)
    assert list(reply.lengths) == [2]
    assert list(reply.num_unknown) == [1]
    assert code == 0
    assert log[-1]["message"] == "stopped"


def test_settings_need_four_variables():
    assert parse(Settings, environ(), prefix=PREFIX).max_rows_per_call == 256
    with pytest.raises(SettingsError) as caught:
        parse(Settings, {}, prefix=PREFIX)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        PREFIX + name for name in ("KEY_FILE", "TRUST_FILE", "REGISTRY_TARGET", "REGISTRY_KEYS_FILE")
    ]


def test_settings_refuse_zero_and_unknown_names():
    with pytest.raises(SettingsError, match="num_threads must be at least 1"):
        parse(Settings, environ(NUM_THREADS="0"), prefix=PREFIX)
    with pytest.raises(SettingsError, match="NUM_THREAD: no such setting"):
        parse(Settings, environ(NUM_THREAD="2"), prefix=PREFIX)
