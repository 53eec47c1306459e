# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Dropping what is old, some rows at a time; the counters stay."""

from collections import Counter
from typing import Any, Final

from sqlalchemy import Connection, delete, exists, select

from dragoman_monitor.join import EXPIRED, UNJOINED, TallyKey
from dragoman_monitor.sql_batch import tally
from dragoman_monitor.sql_rows import chunks, key_of
from dragoman_monitor.tables import LABELS, PREDICTIONS

_FORGET_ROWS: Final = 1_000
"""Most rows that one transaction drops: readers of topics wait for no longer than that."""


def drop_rows(connection: Connection, before_us: int) -> int:
    """Drop predictions of earlier windows, and labels whose last prediction went; returns how many of both."""
    rows = connection.execute(
        select(*PREDICTIONS.primary_key).where(PREDICTIONS.c.start_us < before_us).limit(_FORGET_ROWS)
    ).all()
    num_dropped = 0
    for keys in chunks([tuple(row) for row in rows]):
        connection.execute(delete(PREDICTIONS).where(key_of(PREDICTIONS).in_(keys)))
        names = [key[:3] for key in keys]
        dropped = connection.execute(delete(LABELS).where(key_of(LABELS).in_(names), ~_is_predicted()))
        num_dropped += len(keys) + dropped.rowcount
    return num_dropped


def drop_waiting_labels(connection: Connection, before_us: int) -> int:
    """Drop labels that were received earlier and still wait; returns how many."""
    rows = connection.execute(
        select(*LABELS.primary_key).where(LABELS.c.receive_time_us < before_us, ~_is_predicted()).limit(_FORGET_ROWS)
    ).all()
    tallies: Counter[TallyKey] = Counter()
    for keys in chunks([tuple(row) for row in rows]):
        connection.execute(delete(LABELS).where(key_of(LABELS).in_(keys)))
        for tenant, *_ in keys:
            tallies.update({(tenant, UNJOINED): -1, (tenant, EXPIRED): 1})
    tally(connection, tallies)
    return len(rows)


def _is_predicted() -> Any:
    return exists().where(
        PREDICTIONS.c.tenant == LABELS.c.tenant,
        PREDICTIONS.c.request_id == LABELS.c.request_id,
        PREDICTIONS.c.row == LABELS.c.row,
    )
