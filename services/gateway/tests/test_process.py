# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gateway as a process: settings from the environment, both ports, an answer, drain on SIGTERM."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress

import aiohttp
import grpc
import pytest

from dragoman_common.settings import SettingsError, parse
from dragoman_gateway.settings import Settings

PREFIX = "DRAGOMAN_GATEWAY_"
REQUIRED = {
    "KEY_FILE": "k",
    "TRUST_FILE": "t",
    "REGISTRY_TARGET": "127.0.0.1:1",
    "REGISTRY_KEYS_FILE": "r",
    "TOKENIZER_TARGET": "127.0.0.1:2",
    "WORKER_TARGETS": "127.0.0.1:3, 127.0.0.1:4",
    "EVENTS_URL": "sqlite:///events.db",
    "USER_JWKS_FILE": "j",
}


def settings_of(**changes):
    return parse(Settings, {PREFIX + name: value for name, value in (REQUIRED | changes).items()}, prefix=PREFIX)


def test_clients_find_the_gateway_where_it_always_is():
    assert (settings_of().server.listen, settings_of().http_listen) == ("127.0.0.1:9000", "127.0.0.1:8080")


def test_every_worker_address_is_read():
    assert settings_of().worker_targets == ("127.0.0.1:3", "127.0.0.1:4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"USER_LEEWAY_S": "61"}, "USER_LEEWAY_S must be 0 to 60"),
        ({"WORKER_TARGETS": ""}, "WORKER_TARGETS names no worker"),
        ({"WORKER_TARGETS": "gpu=a:1,b"}, "WORKER_TARGETS: 'b' is not host:port"),
        ({"POOL_MODELS": "gpu=*"}, "POOL_MODELS: 'gpu=\\*': no worker target is of pool 'gpu'"),
        ({"AUTOSCALER_TARGET": "autoscaler"}, "AUTOSCALER_TARGET: 'autoscaler' is not host:port"),
        ({"MAX_HELD_CALLS": "0"}, "MAX_HELD_CALLS must be at least 1"),
        ({"MAX_ROWS": "0"}, "MAX_ROWS must be at least 1"),
        ({"USER_ALGORITHMS": "HS256"}, "no such setting"),
    ],
)
def test_settings_that_serve_nobody_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        settings_of(**changes)


async def start(environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragoman_gateway", env=clean | environment, stderr=asyncio.subprocess.PIPE
    )


async def listening(process):
    """The ports, once both are bound."""
    ports = {}
    while len(ports) < 2:
        line = json.loads(await process.stderr.readline())
        if line["message"].startswith("listening"):
            ports[line["message"]] = line["port"]
    return ports


async def test_a_process_answers_and_drains(platform):
    environment = platform.environment()
    process = await start(environment)
    try:
        ports = await listening(process)
        url = f"http://127.0.0.1:{ports['listening for HTTP']}"
        headers = {"Authorization": f"Bearer {platform.token()}"}
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["oil"]}
        async with aiohttp.ClientSession() as session:
            # The call itself waits for the worker to be known; only the aliases must have been read before.
            async with asyncio.timeout(10):
                while True:
                    async with session.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            break
            async with session.post(
                f"{url}/v2/models/r8/infer", json={"inputs": [tensor]}, headers=headers
            ) as response:
                assert response.status == 200
        process.send_signal(signal.SIGTERM)
        rest = (await process.stderr.read()).decode().splitlines()
        assert await process.wait() == 0
        assert json.loads(rest[-1])["message"] == "stopped"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_gateway_that_drains_says_at_once_that_it_is_not_ready(platform, running_gateway):
    process = await start(platform.environment() | {f"{PREFIX}DRAIN_GRACE_MS": "10000"})
    try:
        ports = await listening(process)
        ready = f"http://127.0.0.1:{ports['listening for HTTP']}/readyz"
        async with (
            aiohttp.ClientSession() as session,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports['listening']}") as channel,
        ):

            async def answers(status):
                async with session.get(ready) as response:
                    return response.status == status

            await running_gateway.eventually(lambda: answers(200))
            platform.tokenizer.is_open.clear()
            gateway = running_gateway.Gateway(platform, channel, 0)
            call = asyncio.ensure_future(gateway.classify("oil"))
            await running_gateway.eventually(lambda: platform.tokenizer.tenants)
            process.send_signal(signal.SIGTERM)
            await running_gateway.eventually(lambda: answers(503))
            assert not call.done()
            platform.tokenizer.is_open.set()
            assert (await call).request_id
        await process.communicate()
        assert process.returncode == 0
    finally:
        platform.tokenizer.is_open.set()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_killed_gateway_has_answered_nothing_that_is_not_in_the_log(platform, running_gateway):
    process = await start(platform.environment())
    answered = set()
    try:
        await listening(process)
        port = json.loads((platform.folder / "grpc.ready").read_text())["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            gateway = running_gateway.Gateway(platform, channel, 0)
            await gateway.eventually(lambda: running_gateway.is_serving(channel))

            async def client():
                with suppress(grpc.aio.AioRpcError):
                    while True:
                        answered.add((await gateway.classify("oil")).request_id)
                        if len(answered) == 100:
                            process.kill()

            await asyncio.gather(*(client() for _ in range(16)))
            assert len(answered) >= 100
            await process.wait()
            logged = [(event.request_id, event.row) for event in gateway.events()]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert answered <= {request_id for request_id, _ in logged}
    assert len(logged) == len(set(logged))


async def test_a_key_file_that_cannot_be_used_ends_the_start_with_its_reason(platform):
    environment = platform.environment()
    (platform.folder / "users.jwks.json").write_text('{"keys": []}')
    process = await start(environment)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert "not empty" in stderr.decode()
    assert "Traceback" not in stderr.decode()
