# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which S3 client should the registry's adapter stand on: minio's lower-level calls, or obstore?

    python bench/registry/store_clients.py [--mib 256] [--rounds 3]

Each client does what the adapter needs, in a process of its own, in turns on one MinIO: create-if-absent, small reads,
a listing, a blob streamed in parts and hashed on the way, and the same blob streamed back. Printed per client: the
medians, the CPU seconds and the peak memory of the client's process, and the longest time for which its event loop
stood still. Then what no figure shows: what a cancelled upload leaves, and a listing with an object that is not ours.
"""

import argparse
import asyncio
import functools
import hashlib
import io
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parts.minio import MinioServer, running

BUCKET = "bench"
PART_BYTES = 8 << 20
PIECE_BYTES = 1 << 20
NUM_NAMES = 1500
NUM_SMALL = 300
NUM_RACERS = 32
SMALL = b"x" * 1024


class Client(Protocol):
    async def create(self, key: str, data: bytes) -> None: ...

    async def read(self, key: str) -> bytes: ...

    async def names(self, prefix: str) -> list[str]: ...

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None: ...

    def get(self, key: str) -> AsyncIterator[bytes]: ...


class MinioClient:
    """minio-py on threads: its public put_object takes no condition, so `_put_object` does."""

    def __init__(self, server: MinioServer) -> None:
        import urllib3
        from minio import Minio

        self._minio: Any = Minio(
            server.address,
            server.access_key,
            server.secret_key,
            secure=False,
            region=server.region,
            http_client=urllib3.PoolManager(maxsize=NUM_RACERS),
        )
        self._threads = ThreadPoolExecutor(NUM_RACERS)

    async def _call(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        call = functools.partial(function, *arguments, **more)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def create(self, key: str, data: bytes) -> None:
        await self._call(self._minio._put_object, BUCKET, key, data, {"If-None-Match": "*"})  # noqa: SLF001

    async def read(self, key: str) -> bytes:
        def read() -> bytes:
            reply = self._minio.get_object(BUCKET, key)
            try:
                return bytes(reply.read())
            finally:
                reply.close()
                reply.release_conn()

        return bytes(await self._call(read))

    async def names(self, prefix: str) -> list[str]:
        return await self._call(lambda: [item.object_name for item in self._minio.list_objects(BUCKET, prefix + "/")])

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        upload = await self._call(self._minio._create_multipart_upload, BUCKET, key, {})  # noqa: SLF001
        try:
            await self._put_parts(key, upload, chunks)
        except asyncio.CancelledError:
            await asyncio.shield(self._call(self._minio._abort_multipart_upload, BUCKET, key, upload))  # noqa: SLF001
            raise

    async def _put_parts(self, key: str, upload: str, chunks: AsyncIterator[bytes]) -> None:
        from minio.datatypes import Part

        parts: list[Any] = []

        async def send(number: int, data: bytes) -> None:
            etag = await self._call(self._minio._upload_part, BUCKET, key, data, None, upload, number)  # noqa: SLF001
            parts.append(Part(number, etag))

        sending, buffer, number = None, bytearray(), 0
        try:
            async for chunk in chunks:
                buffer += chunk
                if len(buffer) >= PART_BYTES:
                    # One part travels while the next one fills.
                    if sending:
                        await sending
                    number += 1
                    sending = asyncio.create_task(send(number, bytes(buffer)))
                    buffer.clear()
        finally:
            if sending:
                await asyncio.shield(sending)
        if buffer:
            await send(number + 1, bytes(buffer))
        await self._call(self._minio._complete_multipart_upload, BUCKET, key, upload, parts)  # noqa: SLF001

    async def get(self, key: str) -> AsyncIterator[bytes]:
        reply = await self._call(self._minio.get_object, BUCKET, key)
        while data := await self._call(reply.read, PIECE_BYTES):
            yield data
        reply.close()
        reply.release_conn()


class ObstoreClient:
    """obstore: Rust's object_store, async of its own."""

    def __init__(self, server: MinioServer) -> None:
        from obstore.store import S3Store

        self._store = S3Store(
            BUCKET,
            endpoint=server.endpoint,
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            region=server.region,
            client_options={"allow_http": True, "timeout": timedelta(seconds=60)},
        )

    async def create(self, key: str, data: bytes) -> None:
        import obstore

        await obstore.put_async(self._store, key, data, mode="create")

    async def read(self, key: str) -> bytes:
        import obstore

        return bytes(await (await obstore.get_async(self._store, key)).bytes_async())

    async def names(self, prefix: str) -> list[str]:
        import obstore

        found = await obstore.list_with_delimiter_async(self._store, prefix)
        return [item["path"] for item in found["objects"]]

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        import obstore

        await obstore.put_async(self._store, key, chunks, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        import obstore

        reply = await obstore.get_async(self._store, key)
        async for piece in reply.stream(min_chunk_size=PIECE_BYTES):
            yield bytes(piece)


CLIENTS: dict[str, Callable[[MinioServer], Client]] = {"minio": MinioClient, "obstore": ObstoreClient}


async def timed_s(work: Awaitable[Any]) -> float:
    started_s = time.perf_counter()
    await work
    return time.perf_counter() - started_s


async def longest_stand_still_s(ends: asyncio.Event) -> float:
    longest_s = 0.0
    while not ends.is_set():
        started_s = time.perf_counter()
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.perf_counter() - started_s - 0.005)
    return longest_s


async def measured(client: Client, where: str, size_mib: int) -> dict[str, float]:
    ends = asyncio.Event()
    watch = asyncio.create_task(longest_stand_still_s(ends))
    figures: dict[str, float] = {}
    creates = [await timed_s(client.create(f"{where}/{number}", SMALL)) for number in range(NUM_SMALL)]
    reads = [await timed_s(client.read(f"{where}/{number}")) for number in range(NUM_SMALL)]
    figures["create_ms"] = statistics.median(creates) * 1e3
    figures["read_ms"] = statistics.median(reads) * 1e3

    async def racer(first: int) -> None:
        for number in range(first, NUM_SMALL, NUM_RACERS):
            await client.read(f"{where}/{number}")

    figures["reads_per_s_32"] = NUM_SMALL / await timed_s(
        asyncio.wait([asyncio.create_task(racer(first)) for first in range(NUM_RACERS)])
    )
    figures["list_1500_ms"] = await timed_s(client.names("names")) * 1e3
    piece = bytes(range(256)) * (PIECE_BYTES // 256)
    digest = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size_mib):
            await asyncio.to_thread(digest.update, piece)
            yield piece

    figures["put_mib_per_s"] = size_mib / await timed_s(client.put(f"{where}-blob", pieces()))
    back = hashlib.sha256()

    async def pull() -> None:
        async for data in client.get(f"{where}-blob"):
            await asyncio.to_thread(back.update, data)

    figures["get_mib_per_s"] = size_mib / await timed_s(pull())
    if back.digest() != digest.digest():
        raise AssertionError("the blob came back changed")
    ends.set()
    figures["loop_stands_still_ms"] = await watch * 1e3
    return figures


async def conduct(client: Client, server: MinioServer) -> dict[str, object]:
    """What the client leaves behind when an upload is cancelled, and what it lists beside a planted name."""
    from minio import Minio

    admin: Any = Minio(server.address, server.access_key, server.secret_key, secure=False, region=server.region)
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(PART_BYTES)
        stalled.set()
        await asyncio.Event().wait()

    async def upload(key: str) -> None:
        await client.put(key, stalling())

    key = f"cancelled-{type(client).__name__}"
    task = asyncio.create_task(upload(key))
    await stalled.wait()
    task.cancel()
    await asyncio.wait([task])
    left = admin._list_multipart_uploads(BUCKET, prefix=key).uploads  # noqa: SLF001
    try:
        listed = len(await client.names("planted"))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return {"left_by_cancel": len(left), "lists_beside_a_planted_name": type(error).__name__}
    return {"left_by_cancel": len(left), "lists_beside_a_planted_name": listed}


def child(name: str, server: MinioServer, where: str, size_mib: int, results: Any) -> None:
    """Measure one client in a fresh process."""
    figures = asyncio.run(measured(CLIENTS[name](server), where, size_mib))
    manners = asyncio.run(conduct(CLIENTS[name](server), server))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    results.put(manners | figures | {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss_mib": usage.ru_maxrss / 1024})


def prepare(server: MinioServer) -> None:
    from minio import Minio

    admin = Minio(server.address, server.access_key, server.secret_key, secure=False)
    admin.make_bucket(BUCKET)
    for name in ("1", "2", "\x01"):
        admin.put_object(BUCKET, f"planted/{name}", io.BytesIO(b"x"), 1)
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda number: admin.put_object(BUCKET, f"names/{number}", io.BytesIO(b"x"), 1), range(NUM_NAMES)
            )
        )


def main() -> None:
    """Measure in turns and print one JSON object a client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CLIENTS}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        prepare(server)
        plain = MinioServer(
            None,
            endpoint=server.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
        )
        for turn in range(arguments.rounds):
            for name in CLIENTS:
                results = spawn.SimpleQueue()
                process = spawn.Process(target=child, args=(name, plain, f"{name}-{turn}", arguments.mib, results))
                process.start()
                process.join()
                found[name].append(results.get())
    for name, rounds in found.items():
        medians = {
            name: round(statistics.median(row[name] for row in rounds), 2) if isinstance(value, float) else value
            for name, value in rounds[0].items()
        }
        print(json.dumps({"client": name, "mib": arguments.mib, "rounds": len(rounds), **medians}))


if __name__ == "__main__":
    main()
