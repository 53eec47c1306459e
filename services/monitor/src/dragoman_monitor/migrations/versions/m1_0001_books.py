# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The books as they began: rules, offsets, rows, counters and letters that wait."""

import sqlalchemy as sa
from alembic import op

revision = "m1_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table("rules", sa.Column("description", sa.Text, nullable=False))
    _create("offsets", key=("topic", "partition"), rest=("next",))
    _create(
        "predictions",
        key=("tenant", "request_id", "row", "arm"),
        rest=("model", "version", "start_us", "label", "is_covered"),
    )
    _create("labels", key=("tenant", "request_id", "row"), rest=("label", "receive_time_us"))
    _create("counts", key=("tenant", "model", "version", "arm", "start_us", "name", "first", "second"), rest=("count",))
    _create("tallies", key=("tenant", "name"), rest=("count",))
    _create(
        "waiting_dead_letters",
        key=("topic", "partition", "offset"),
        rest=("reason", "value", "headers", "tenant", "reject_time_us", "search_from"),
    )


_TYPES = {
    **dict.fromkeys(("partition", "next", "row", "version", "start_us", "receive_time_us", "count"), sa.BigInteger),
    **dict.fromkeys(("offset", "reject_time_us"), sa.BigInteger),
    "is_covered": sa.Integer,
    "value": sa.LargeBinary,
}


def _create(name: str, *, key: tuple[str, ...], rest: tuple[str, ...]) -> None:
    op.create_table(
        name,
        *(
            sa.Column(
                column, _TYPES.get(column, sa.Text), primary_key=column in key, nullable=False, autoincrement=False
            )
            for column in (*key, *rest)
        ),
        sqlite_with_rowid=False,
    )
