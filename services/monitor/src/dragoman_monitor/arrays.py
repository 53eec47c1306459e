# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Rows as arrays, one a column, which Postgres takes as a table: `unnest(:tenant, :row) AS given (tenant, row)`.

A statement over them has one text for any number of rows, so the server parses and plans it once for a connection. As
parameters of their own, 500 keys of three columns took most of a batch's time (bench/events/rated.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, Column, ColumnClause, TableValuedAlias, bindparam, cast, func

_NAME: Final = "given"


def arrays(
    columns: Sequence[ColumnClause[Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[TableValuedAlias, dict[str, Any]]:
    """Give rows to a statement.

    Args:
        columns: what each row has, by the columns' names.
        rows: in any order.

    Returns:
        The table, and the values of its parameters.
    """
    given = [cast(bindparam(f"{_NAME}_{column.name}"), ARRAY(column.type)) for column in columns]
    table = func.unnest(*given).table_valued(*(Column(column.name, column.type) for column in columns))
    values = {f"{_NAME}_{column.name}": [row[column.name] for row in rows] for column in columns}
    return table.render_derived(name=_NAME), values
