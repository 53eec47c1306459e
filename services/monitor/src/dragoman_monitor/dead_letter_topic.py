# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Sends dead letters to their topic, each once, also when an earlier attempt died half-way."""

from collections.abc import Sequence
from typing import Final

from dragoman_events.ports import EventLog, Message
from dragoman_events.topics import DEAD_LETTERS
from dragoman_monitor.convert import dead_letter_to_event
from dragoman_monitor.dead_letter import DeadLetter

_PAGE: Final = 500


class DeadLetterTopic:
    """The topic as the books see it (``ports.Send``)."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Append the letters that the topic does not hold yet; durable on return.

        Raises:
            UnavailableError: some may have been appended; the next attempt finds them.
        """
        found = self._ids(letters)
        messages = [
            Message.of(letter.event_id.encode(), dead_letter_to_event(letter))
            for letter in letters
            if letter.event_id not in found
        ]
        self._log.write(DEAD_LETTERS, messages)

    def _ids(self, letters: Sequence[DeadLetter]) -> set[str]:
        """The ids in the topic, from the oldest letter's search start on."""
        ids: set[str] = set()
        for partition in self._log.end_offsets(DEAD_LETTERS):
            offset = min(letter.search_from.get(partition, 0) for letter in letters)
            while records := self._log.read(DEAD_LETTERS, offset, _PAGE, partition=partition):
                ids |= {record.headers.get("ce_id", b"").decode(errors="replace") for record in records}
                offset = records[-1].offset + 1
        return ids
