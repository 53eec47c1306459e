# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The archived log of a job: one file a pod, in the order in which the pods ran, read as one.

    <folder>/<n>-<pod uid>      appended while the pod runs; the next number begins only when the one before is whole

It outlives pod, Job and launcher. A pod that is followed again is read from its start, and what is kept is passed over.
"""

import os
import re
from pathlib import Path

from dragoman_launcher.job_log import log_bytes, log_tail, read_log

_UID = re.compile(r"[A-Za-z0-9-]{1,64}")


class PodLogs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file_of(self, pod_uid: str) -> Path:
        """Where this pod's part is, or is to be.

        Raises:
            ValueError: the uid is not one.
        """
        if not _UID.fullmatch(pod_uid):
            raise ValueError("a pod's uid has characters that no uid has")
        files = self._files()
        for file in files:
            if file.name.partition("-")[2] == pod_uid:
                return file
        return self._folder / f"{len(files):04d}-{pod_uid}"

    def append(self, file: Path, data: bytes) -> None:
        """Add to a pod's part."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)

    def num_bytes(self) -> int:
        return sum(log_bytes(file) for file in self._files())

    def read(self, offset_bytes: int, max_bytes: int) -> bytes:
        """A piece of the whole, as JobRunner.read_log."""
        found = b""
        for file in self._files():
            size = log_bytes(file)
            if offset_bytes < size and len(found) < max_bytes:
                found += read_log(file, offset_bytes, max_bytes - len(found))
            offset_bytes = max(0, offset_bytes - size)
        return found

    def tail(self) -> str:
        """The last lines of the last pod that wrote any."""
        for file in reversed(self._files()):
            if text := log_tail(file):
                return text
        return ""

    def _files(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []
