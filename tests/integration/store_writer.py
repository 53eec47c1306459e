# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A writer with full access to a platform's store, past the registry, who can take all of it back.

Keys are the store's (services/registry/README.md); on a folder a key is a path below it.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Protocol

from minio import Minio
from minio.error import S3Error


class StoreWriter(Protocol):
    """Reads, writes and deletes what it likes; undo brings back what was there before."""

    def read(self, key: str) -> bytes: ...

    def write(self, key: str, data: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def names_below(self, prefix: str) -> list[str]: ...

    def undo(self) -> None: ...


class _Undoing:
    def __init__(self) -> None:
        self._before: dict[str, bytes | None] = {}

    def _remember(self, key: str) -> None:
        if key not in self._before:
            try:
                self._before[key] = self.read(key)
            except KeyError:
                self._before[key] = None

    def undo(self) -> None:
        for key, data in list(self._before.items()):
            if data is None:
                self.delete(key)
            else:
                self.write(key, data)
        self._before.clear()


class FolderWriter(_Undoing):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def read(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise KeyError(key) from error

    def write(self, key: str, data: bytes) -> None:
        self.delete(key)
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def link(self, key: str, target: str) -> None:
        """Put a symbolic link in the object's place."""
        self.delete(key)
        (self.root / key).symlink_to(target)

    def delete(self, key: str) -> None:
        self._remember(key)
        path = self.root / key
        if os.path.lexists(path):
            path.unlink()
            # As a bucket does: a folder is there as long as something is in it.
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def names_below(self, prefix: str) -> list[str]:
        folder = self.root / prefix
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


class BucketWriter(_Undoing):
    def __init__(self, admin: Minio, bucket: str) -> None:
        super().__init__()
        self._admin, self._bucket = admin, bucket

    def read(self, key: str) -> bytes:
        try:
            reply = self._admin.get_object(self._bucket, key)
        except S3Error as error:
            if error.code not in ("NoSuchKey", "XMinioInvalidObjectName"):
                raise
            raise KeyError(key) from error
        try:
            return reply.read()
        finally:
            reply.close()
            reply.release_conn()

    def write(self, key: str, data: bytes) -> None:
        self._remember(key)
        self._admin.put_object(self._bucket, key, io.BytesIO(data), len(data))

    def delete(self, key: str) -> None:
        self._remember(key)
        self._admin.remove_object(self._bucket, key)

    def names_below(self, prefix: str) -> list[str]:
        found = self._admin.list_objects(self._bucket, f"{prefix}/")
        return sorted(str(item.object_name).rstrip("/").rpartition("/")[2] for item in found)
