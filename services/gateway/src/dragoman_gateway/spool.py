# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Events on the local disk, on their way to the event log: what they were when they were accepted, ids included.

    write (group commit, one sync) -> spool.db -> oldest -> [event log] -> drop

A file of the same kind as a laptop's event log, because that is what a spool is: append-only, synced before it is
acknowledged, whole after a crash. A crash between the log's acknowledgement and the drop sends events again, with the
ids that they have. Owns the file and its lock; when to write and when to replay is outbox.py's.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_events import topics
from dragoman_events.ports import Message
from dragoman_events.retention import DAY_S, Retention
from dragoman_events.sqlite_log import SqliteEventLog

_TOPICS = (topics.PREDICTIONS, topics.FEEDBACK)
# Nothing leaves the spool but by replay; how much may wait is bounded where it is written.
_KEEP_ALL = Retention(max_age_s=36_500 * DAY_S, max_bytes=2**62)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpooledBatch:
    """The oldest events of one topic; `end` is the offset behind them."""

    topic: str
    messages: Sequence[Message]
    end: int


class Spool:
    """One process's; its methods block and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open the folder's spool, making both where they are missing.

        Raises:
            FailedPreconditionError: another process has it.
            UnavailableError: the folder cannot be made or written.
            DataLossError: the file is damaged. It is left as it is: it may hold what was promised.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError(f"the event spool {folder} cannot be used: {error.strerror}") from error
        try:
            # The kernel frees it when the process ends, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = SqliteEventLog(folder / "spool.db", keep=_KEEP_ALL)
        except BlockingIOError as error:
            os.close(self._lock)
            raise FailedPreconditionError(
                f"the event spool {folder} belongs to another running gateway; give each its own"
            ) from error
        except BaseException:
            os.close(self._lock)
            raise

    def write(self, topic: str, messages: Sequence[Message]) -> None:
        """Append; synced on return.

        Raises:
            UnavailableError: the disk is full or away; nothing of this was written.
        """
        self._file.write(topic, messages)

    def num_events(self) -> int:
        """How many wait."""
        waiting = 0
        for topic in _TOPICS:
            oldest = self._file.read(topic, 0, 1)
            waiting += self._file.end_offsets(topic)[0] - oldest[0].offset if oldest else 0
        return waiting

    def oldest(self, max_events: int) -> SpooledBatch | None:
        """The oldest events of one topic, or None where nothing waits. Predictions first: feedback is about them.

        Raises:
            UnavailableError: the disk is away.
        """
        for topic in _TOPICS:
            records = self._file.read(topic, 0, max_events)
            if records:
                messages = [Message(key=each.key, headers=each.headers, value=each.value) for each in records]
                return SpooledBatch(topic=topic, messages=messages, end=records[-1].offset + 1)
        return None

    def drop(self, batch: SpooledBatch) -> None:
        """Forget events that are in the log.

        Raises:
            UnavailableError: they are still here, and will be replayed again.
        """
        self._file.drop_before(batch.topic, batch.end)

    def close(self) -> None:
        """Let another process have it; what waits stays."""
        self._file.close()
        os.close(self._lock)
