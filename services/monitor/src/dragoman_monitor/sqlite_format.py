# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a file of books, and how an older file becomes one of today. sqlite.py fills and reads them.

offsets: the truth | predictions, labels: detail, forgotten in time | counts, tallies: for ever | waiting_dead_letters
"""

from typing import Final

from dragoman_events.sqlite_file import FileFormat

_RETENTION: Final = (
    "CREATE INDEX predictions_by_age ON predictions (start_us)",
    "CREATE INDEX labels_by_age ON labels (receive_time_us)",
    # At most one row.
    "CREATE TABLE forgotten (before_us INTEGER NOT NULL)",
)

FORMAT: Final = FileFormat(
    name="monitor state",
    application_id=0x44524D31,
    version=2,
    schema=(
        "CREATE TABLE rules (description TEXT NOT NULL)",
        """CREATE TABLE offsets (
               topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
               PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
        """CREATE TABLE predictions (
               tenant TEXT NOT NULL, request_id TEXT NOT NULL, "row" INTEGER NOT NULL, arm TEXT NOT NULL,
               model TEXT NOT NULL, version INTEGER NOT NULL, start_us INTEGER NOT NULL,
               label TEXT NOT NULL, is_covered INTEGER NOT NULL,
               PRIMARY KEY (tenant, request_id, "row", arm)) WITHOUT ROWID""",
        """CREATE TABLE labels (
               tenant TEXT NOT NULL, request_id TEXT NOT NULL, "row" INTEGER NOT NULL,
               label TEXT NOT NULL, receive_time_us INTEGER NOT NULL,
               PRIMARY KEY (tenant, request_id, "row")) WITHOUT ROWID""",
        """CREATE TABLE counts (
               tenant TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, arm TEXT NOT NULL,
               start_us INTEGER NOT NULL, name TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL,
               count INTEGER NOT NULL,
               PRIMARY KEY (tenant, model, version, arm, start_us, name, first, second)) WITHOUT ROWID""",
        """CREATE TABLE tallies (
               tenant TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL,
               PRIMARY KEY (tenant, name)) WITHOUT ROWID""",
        """CREATE TABLE waiting_dead_letters (
               topic TEXT NOT NULL, partition INTEGER NOT NULL, "offset" INTEGER NOT NULL,
               reason TEXT NOT NULL, value BLOB NOT NULL, headers TEXT NOT NULL, tenant TEXT NOT NULL,
               reject_time_us INTEGER NOT NULL, search_from TEXT NOT NULL,
               PRIMARY KEY (topic, partition, "offset")) WITHOUT ROWID""",
        *_RETENTION,
    ),
    upgrades={1: _RETENTION},
)
