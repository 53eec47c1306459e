# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry as a process of its own, for tests that kill it or what it stands on."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.channel import connect
from dragoman_common.testing import TestKeys
from dragoman_models.signing import SigningKey

PREFIX = "DRAGOMAN_REGISTRY_"


class Home:
    """A folder with all that the process needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, TestKeys()
        self.keys.key("registry").save(folder)
        self.keys.trust.save(folder / "trust.json")
        SigningKey.generate().save(folder / "signing.pem", folder / "signing.pub")
        self.ready = folder / "ready.json"
        self.settings = {
            "STORE_URL": f"file://{folder}/store",
            "EVENTS_URL": f"sqlite://{folder}/events.db",
            "SIGNING_KEY_FILE": str(folder / "signing.pem"),
            "KEY_FILE": str(folder / "registry.pem"),
            "TRUST_FILE": str(folder / "trust.json"),
            "READY_FILE": str(self.ready),
        }

    async def spawn(self, **changes: str) -> asyncio.subprocess.Process:
        self.ready.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dragoman_registry",
            env=clean | {PREFIX + name: value for name, value in (self.settings | changes).items()},
            stderr=asyncio.subprocess.PIPE,
        )

    @asynccontextmanager
    async def served(self):
        process = await self.spawn()
        try:
            while json.loads(await process.stderr.readline())["message"] != "listening":
                pass
            port = json.loads(self.ready.read_bytes())["port"]
            tokens = self.keys.tokens("operator", tenant="acme")
            async with connect(f"127.0.0.1:{port}", audience="registry", tokens=tokens) as channel:
                yield process, registry_pb2_grpc.RegistryServiceStub(channel)
        finally:
            if process.returncode is None:
                process.kill()
            # Reads to the end, so that no pipe is left open behind the test.
            await process.communicate()


async def stream(messages, *, stop_at: int | None = None, reached: asyncio.Event | None = None):
    for number, message in enumerate(messages):
        if number == stop_at:
            reached.set()
            await asyncio.Event().wait()
        yield message


async def numbers(stub) -> list[int]:
    try:
        reply = await stub.ListVersions(pb.ListVersionsRequest(model="r8"), wait_for_ready=True, timeout=20)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return []
        raise
    return [version.number for version in reply.versions]
