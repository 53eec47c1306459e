# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A worker's loader and cache in a process of its own, told by lines of JSON: for tests of what several share.

One JSON object of settings as the argument; then a line {"op": "prepare" | "recheck" | "release", "tenant", "number"}
is answered by {"files": {path: sha256 as found}} or {"error": its class and text}.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from dragoman_common.channel import connect
from dragoman_common.errors import DragomanError
from dragoman_common.service_keys import KeyTokens, ServiceKey
from dragoman_models.verify import VerifyingKeys, verify_manifest
from dragoman_worker import loader
from dragoman_worker.cache import Cache
from dragoman_worker.file_url import FileUrlReader
from dragoman_worker.registry_client import RegistryClient


async def main(settings) -> None:
    loader.MIN_FETCH_S = settings.get("min_fetch_s", loader.MIN_FETCH_S)
    keys = VerifyingKeys.load(Path(settings["registry_keys"]))
    tokens = KeyTokens(ServiceKey.load(Path(settings["key"])))
    cache = Cache(Path(settings["cache"]), max_bytes=settings["max_bytes"])
    async with connect(settings["target"], audience="registry", tokens=tokens, max_message_bytes=4 << 20) as channel:
        registry = RegistryClient(channel, FileUrlReader())
        files = loader.Loader(registry, cache)
        while line := await asyncio.to_thread(sys.stdin.readline):
            wish = json.loads(line)
            tenant, number = wish["tenant"], wish["number"]
            envelope = (await registry.version(tenant, "r8", number)).manifest
            manifest = verify_manifest(envelope, keys, tenant=tenant, model="r8", number=number)
            try:
                if wish["op"] == "release":
                    await files.release(manifest)
                    answer = {"files": {}}
                else:
                    folder = (await files.prepare(manifest, is_suspect=wish["op"] == "recheck")).folder
                    answer = {
                        "files": {
                            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                            for path in folder.rglob("*")
                            if path.is_file()
                        }
                    }
            except DragomanError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
