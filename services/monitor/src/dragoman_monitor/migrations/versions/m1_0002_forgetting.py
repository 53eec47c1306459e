# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What retention needs: rows by age, and the time before which rows are forgotten (at most one row)."""

import sqlalchemy as sa
from alembic import op

revision = "m1_0002"
down_revision = "m1_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two indexes and a table."""
    op.create_index("predictions_by_age", "predictions", ["start_us"])
    op.create_index("labels_by_age", "labels", ["receive_time_us"])
    op.create_table("forgotten", sa.Column("before_us", sa.BigInteger, nullable=False))
