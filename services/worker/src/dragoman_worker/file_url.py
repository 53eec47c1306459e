# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One file from the store's own URL: several ranges at once, handed on in the order of the file.

Owns the connections, the ranges in flight and the memory that they take: at most NUM_CONNECTIONS + 1 parts of
PART_BYTES, so every byte is read once, hashed and written once, and nothing is read back. Blocking; callers run it in a
thread. It believes nothing of what it reads, follows no redirect, asks for exactly the bytes that it expects, and names
the URL, which is a secret while it lasts, in no message.

    part 3 <- connection --+
    part 4 <- connection --+--> part 2 is next --> append, in order
    part 5 <- connection --+
"""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from dragoman_worker.ports import FileUrlError

Append: TypeAlias = Callable[[memoryview], None]

NUM_CONNECTIONS = 4
PART_BYTES = 8 << 20
READ_BYTES = 1 << 20
SILENCE_S = 10.0
"""Longest wait for a connection, and for the next bytes of one."""
_LOOK_S = 0.1


class FileUrlReader:
    """Reads files by URL. Used by any number of threads."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """Trust the system's authorities, and those of a PEM file.

        Raises:
            OSError: the file cannot be read, or holds no certificate.
        """
        self._tls = ssl.create_default_context()
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)

    def read(
        self, url: str, *, first_byte: int, size_bytes: int, append: Append, is_stopped: Callable[[], bool]
    ) -> None:
        """Hand a file's bytes on, from first_byte to its end, each once and in order.

        Args:
            url: http or https.
            first_byte: Where to begin; below size_bytes.
            size_bytes: Of the whole file, as it was signed.
            append: Takes the next bytes; they are valid until it returns. What it raises ends the read, and is raised.
            is_stopped: Looked at often; ends the read with FileUrlError.

        Raises:
            FileUrlError: not a usable URL, or the store did not send what was asked for. What append was given is good.
        """
        where = _split(url)
        parts = [(start, min(start + PART_BYTES, size_bytes)) for start in range(first_byte, size_bytes, PART_BYTES)]
        transfer = _Transfer(parts, size_bytes)
        threads = [
            threading.Thread(target=transfer.work, args=(self._connection(where), _target(where)), daemon=True)
            for _ in parts[:NUM_CONNECTIONS]
        ]
        try:
            for thread in threads:
                thread.start()
            for index in range(len(parts)):
                with transfer.arrived(index, is_stopped) as part:
                    append(part)
        finally:
            transfer.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def _connection(self, where: SplitResult) -> http.client.HTTPConnection:
        host = where.hostname or ""
        if where.scheme == "https":
            return http.client.HTTPSConnection(host, where.port, timeout=SILENCE_S, context=self._tls)
        return http.client.HTTPConnection(host, where.port, timeout=SILENCE_S)


class _Transfer:
    """The parts of one read, shared by its threads."""

    def __init__(self, parts: list[tuple[int, int]], size_bytes: int) -> None:
        self._parts = parts
        self._size_bytes = size_bytes
        self._changed = threading.Condition()
        self._num_taken = 0
        self._num_done = 0
        self._arrived: dict[int, tuple[bytearray, memoryview]] = {}
        self._free: list[bytearray] = []
        self._num_buffers = 0
        self._open: set[http.client.HTTPConnection] = set()
        self._error: FileUrlError | None = None
        self._is_stopped = False

    def work(self, connection: http.client.HTTPConnection, target: str) -> None:
        """Bring one part after the other, until there is none left or the read has ended."""
        with self._changed:
            self._open.add(connection)
        try:
            while (taken := self._take()) is not None:
                index, buffer = taken
                start, end = self._parts[index]
                part = memoryview(buffer)[: end - start]
                self._fill(connection, target, part, start)
                with self._changed:
                    self._arrived[index] = (buffer, part)
                    self._changed.notify_all()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Their texts may hold the URL.
            self._fail(FileUrlError(f"the store's file URL could not be read ({type(error).__name__})"))
        except FileUrlError as error:
            self._fail(error)
        finally:
            with self._changed:
                self._open.discard(connection)
            connection.close()

    @contextmanager
    def arrived(self, index: int, is_stopped: Callable[[], bool]) -> Iterator[memoryview]:
        """A part, once it is there; its memory is used again after the block."""
        with self._changed:
            while index not in self._arrived:
                if is_stopped():
                    raise FileUrlError("the read was stopped")
                if self._error is not None:
                    raise self._error
                self._changed.wait(_LOOK_S)
            buffer, part = self._arrived.pop(index)
        yield part
        part.release()
        with self._changed:
            self._num_done += 1
            self._free.append(buffer)
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads, also one that waits for bytes."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            for connection in self._open:
                if (opened := connection.sock) is not None:
                    with suppress(OSError):
                        opened.shutdown(2)

    def _take(self) -> tuple[int, bytearray] | None:
        """The next part in the file's order, with memory for it; parts too far ahead of the reader wait."""
        with self._changed:
            while not self._is_stopped and self._error is None and self._num_taken < len(self._parts):
                if self._num_taken <= self._num_done + NUM_CONNECTIONS:
                    index = self._num_taken
                    self._num_taken += 1
                    start, end = self._parts[index]
                    return index, self._free.pop() if self._free else bytearray(max(end - start, self._largest()))
                self._changed.wait()
            return None

    def _largest(self) -> int:
        """Of all parts: each memory serves any of them."""
        return self._parts[0][1] - self._parts[0][0]

    def _fail(self, error: FileUrlError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _fill(self, connection: http.client.HTTPConnection, target: str, part: memoryview, start: int) -> None:
        last = start + len(part) - 1
        connection.request("GET", target, headers={"Range": f"bytes={start}-{last}", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status != http.client.PARTIAL_CONTENT:
            raise FileUrlError(f"the store answers its file URL with status {response.status}")
        if response.headers.get("Content-Range") != f"bytes {start}-{last}/{self._size_bytes}":
            raise FileUrlError("the store answers its file URL with other bytes than were asked for")
        position = 0
        while position < len(part):
            if self._is_stopped:
                raise FileUrlError("the read was stopped")
            count = response.readinto(part[position : position + READ_BYTES])
            if not count:
                raise FileUrlError("the store's answer to its file URL ended early")
            position += count
        # The connection is used again only after an answer that has ended.
        if response.read(1):
            raise FileUrlError("the store's answer to its file URL is longer than it says")


def _split(url: str) -> SplitResult:
    try:
        where = urlsplit(url)
        is_usable = (
            where.scheme in ("http", "https")
            and bool(where.hostname)
            and where.username is None
            and where.password is None
            and where.port != 0
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise FileUrlError("the registry's file URL is not a plain http or https URL")
    return where


def _target(where: SplitResult) -> str:
    return f"{where.path or '/'}?{where.query}" if where.query else where.path or "/"
