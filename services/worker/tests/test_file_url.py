# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Files by the store's URL: whatever the store answers, only the file's bytes are handed on, in order and once."""

import asyncio
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dragoman_common.errors import DataLossError
from dragoman_worker import file_url
from dragoman_worker.cache import Cache
from dragoman_worker.file_url import NUM_CONNECTIONS, FileUrlReader
from dragoman_worker.loader import Loader
from dragoman_worker.ports import FileUrlError
from dragoman_worker.registry_client import RegistryClient

SECRET = "X-Amz-Signature-0123456789abcdef"
PART_BYTES = 1 << 16
DATA = random.Random(5).randbytes(10 * PART_BYTES + 123)


class Store(ThreadingHTTPServer):
    """Answers ranges of DATA, or what `misbehave` does instead: it gets the handler and the number of the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.misbehave = lambda _handler, _number: False
        self.data = DATA
        self.ranges: list[str] = []
        self.released = threading.Event()
        self.lock = threading.Lock()

    def handle_error(self, *_):
        """Connections break here on purpose."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/bucket/blob?{SECRET}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.lock:
            self.server.ranges.append(self.headers["Range"])
            number = len(self.server.ranges)
        if not self.server.misbehave(self, number):
            self.answer()

    def answer(self, *, status=206, content_range=None, data=None, size=None):
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = self.server.data[int(first) : int(last) + 1] if data is None else data
        self.send_response(status)
        self.send_header("Content-Range", content_range or f"bytes {first}-{last}/{len(self.server.data)}")
        self.send_header("Content-Length", str(len(part) if size is None else size))
        self.end_headers()
        self.wfile.write(part)

    def redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(file_url, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(file_url, "SILENCE_S", 1.0)
    server = Store()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def read(url, *, first_byte=0, is_stopped=lambda: False):
    """What is handed on, and the error that ended it."""
    got = bytearray()
    try:
        FileUrlReader().read(url, first_byte=first_byte, size_bytes=len(DATA), append=got.extend, is_stopped=is_stopped)
    except FileUrlError as error:
        return bytes(got), error
    return bytes(got), None


@pytest.mark.parametrize("first_byte", [0, 1, PART_BYTES, len(DATA) - 1])
def test_every_byte_is_read_once_and_handed_on_in_order_from_where_it_is_asked_for(store, first_byte):
    # Some answers come late, so that parts do not arrive in order.
    store.misbehave = lambda _handler, number: store.released.wait(0.02 * (number % 3))
    assert read(store.url, first_byte=first_byte) == (DATA[first_byte:], None)
    asked = sorted(tuple(map(int, one.removeprefix("bytes=").split("-"))) for one in store.ranges)
    assert [start for start, _ in asked] == list(range(first_byte, len(DATA), PART_BYTES))
    assert sum(last + 1 - start for start, last in asked) == len(DATA) - first_byte


def test_reader_that_is_slow_keeps_no_more_than_its_parts_in_memory(store):
    most = 0
    num_read = 0

    def slow(part):
        nonlocal most, num_read
        # Everybody who may ask has asked by the time that the store is quiet.
        threading.Event().wait(0.05)
        most = max(most, len(store.ranges) - num_read)
        num_read += 1

    FileUrlReader().read(store.url, first_byte=0, size_bytes=len(DATA), append=slow, is_stopped=lambda: False)
    assert most == NUM_CONNECTIONS + 1


MISBEHAVIOURS = {
    "expired": lambda handler: handler.answer(status=403, data=b"<Error>AccessDenied</Error>"),
    "whole file": lambda handler: handler.answer(status=200, data=DATA),
    "other range": lambda handler: handler.answer(
        content_range=f"bytes 1-{PART_BYTES}/{len(DATA)}", data=DATA[1 : PART_BYTES + 1]
    ),
    "other size": lambda handler: handler.answer(
        content_range=handler.headers["Range"].replace("=", " ") + f"/{len(DATA) + 1}"
    ),
    "short": lambda handler: (handler.answer(data=b"x" * 10, size=PART_BYTES), handler.connection.shutdown(2)),
    "long": lambda handler: handler.answer(data=b"x" * (PART_BYTES + 1)),
    "not http": lambda handler: (
        handler.wfile.write(f"{SECRET}\r\n\r\n".encode()),
        handler.connection.shutdown(2),
    ),
    "gone": lambda handler: handler.connection.shutdown(2),
    "silent": lambda handler: handler.server.released.wait(20),
}


@pytest.mark.parametrize("how", MISBEHAVIOURS)
@pytest.mark.parametrize("from_request", [1, 6])
def test_whatever_the_store_answers_instead_is_an_error_without_the_url_and_nothing_wrong_is_handed_on(
    store, how, from_request
):
    def misbehave(handler, number):
        if number < from_request:
            return False
        MISBEHAVIOURS[how](handler)
        return True

    store.misbehave = misbehave
    got, error = read(store.url)
    assert isinstance(error, FileUrlError)
    assert SECRET not in repr(error)
    assert error.__cause__ is None
    assert DATA.startswith(got)
    assert len(got) < len(DATA)


def test_redirect_is_not_followed(store):
    store.misbehave = lambda handler, number: handler.redirect("/elsewhere") or True
    got, error = read(store.url)
    assert (got, error.message) == (b"", "the store answers its file URL with status 302")
    assert len(store.ranges) <= NUM_CONNECTIONS


@pytest.mark.parametrize(
    "url",
    [
        f"file:///etc/hostname?{SECRET}",
        f"ftp://127.0.0.1/{SECRET}",
        f"http://user:pass@127.0.0.1/{SECRET}",
        f"http:///{SECRET}",
        f"http://127.0.0.1:99999/{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://127.0.0.1:1/{SECRET}",
        f"http://127.0.0.1:1/a b\r\nX: {SECRET}",
        SECRET,
        "",
    ],
)
def test_url_that_is_no_plain_http_or_leads_nowhere_is_an_error_without_the_url(url):
    got, error = read(url)
    assert (got, type(error)) == (b"", FileUrlError)
    assert SECRET not in repr(error)


def test_read_that_is_told_to_stop_ends_its_threads_though_the_store_is_silent(store, monkeypatch):
    monkeypatch.setattr(file_url, "SILENCE_S", 60.0)
    store.misbehave = lambda _handler, _number: store.released.wait(60)
    found = []
    # It returns when its threads have ended, and would wait as long as the store is silent.
    reading = threading.Thread(
        target=lambda: found.append(read(store.url, is_stopped=lambda: len(store.ranges) == NUM_CONNECTIONS))
    )
    reading.start()
    reading.join(20)
    assert not reading.is_alive()
    ((got, error),) = found
    assert (got, error.message) == (b"", "the read was stopped")


class TestThroughTheLoader:
    @pytest.fixture
    def manifest(self, world, linear_package, monkeypatch):
        monkeypatch.setattr("dragoman_worker.loader.MIN_URL_BYTES", PART_BYTES)
        return world.publish(1, linear_package(1) | {"extra.bin": DATA}, tenant="acme")

    @pytest.fixture
    async def loader(self, registry_server, tmp_path):
        cache = Cache(tmp_path / "cache", max_bytes=1 << 30)
        async with registry_server.channel("worker") as channel:
            yield Loader(RegistryClient(channel, FileUrlReader()), cache)
        cache.close()

    @pytest.fixture
    def offsets(self, world, monkeypatch):
        """Where downloads of the large file through the registry began."""
        found = []
        download = world.registry.download

        def noted(tenant, model, number, path, offset_bytes):
            if path == "extra.bin":
                found.append(offset_bytes)
            return download(tenant, model, number, path, offset_bytes)

        monkeypatch.setattr(world.registry, "download", noted)
        return found

    async def test_large_file_comes_by_its_url_and_small_ones_through_the_registry(
        self, world, store, stub, loader, manifest, offsets
    ):
        stub.url = store.url
        files = await loader.prepare(manifest)
        assert (files.folder / "extra.bin").read_bytes() == DATA
        assert offsets == []
        assert world.registry.num_downloads == dict.fromkeys(set(files.sha256_by_path) - {"extra.bin"}, 1)

    async def test_store_without_urls_is_read_through_the_registry(self, loader, manifest, offsets):
        assert ((await loader.prepare(manifest)).folder / "extra.bin").read_bytes() == DATA
        assert offsets == [0]

    @pytest.mark.parametrize("how", ["expired", "gone", "long"])
    async def test_url_that_fails_on_the_way_is_left_for_the_registry_at_that_byte(
        self, store, stub, loader, manifest, offsets, how, caplog
    ):
        def misbehave(handler, number):
            if number <= 5:
                return False
            handler.close_connection = True
            MISBEHAVIOURS[how](handler)
            return True

        stub.url = store.url
        store.misbehave = misbehave
        assert ((await loader.prepare(manifest)).folder / "extra.bin").read_bytes() == DATA
        (offset,) = offsets
        assert 0 < offset <= 5 * PART_BYTES
        assert SECRET not in caplog.text

    async def test_url_to_other_bytes_of_the_right_size_is_data_loss(self, store, stub, loader, manifest, tmp_path):
        stub.url = store.url
        store.data = DATA[:-1] + bytes([DATA[-1] ^ 1])
        with pytest.raises(DataLossError, match=r"extra\.bin"):
            await loader.prepare(manifest)
        names = {path.name for path in (tmp_path / "cache" / "sha256").iterdir()}
        assert not names & {file.sha256 for file in manifest.files if file.path == "extra.bin"}

    async def test_load_that_is_cancelled_leaves_nothing_behind(self, store, stub, loader, manifest, tmp_path):
        stub.url = store.url
        waiting = asyncio.Event()
        loop = asyncio.get_running_loop()

        def misbehave(_handler, number):
            if number > 5:
                loop.call_soon_threadsafe(waiting.set)
                store.released.wait(20)
            return False

        store.misbehave = misbehave
        loading = asyncio.create_task(loader.prepare(manifest))
        await waiting.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert list((tmp_path / "cache" / "incoming").iterdir()) == []
        assert list((tmp_path / "cache" / "workers").glob("*/versions/*")) == []
        store.released.set()
        store.misbehave = lambda _handler, _number: False
        assert ((await loader.prepare(manifest)).folder / "extra.bin").read_bytes() == DATA
