# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How the books' tables came to be, step by step: Alembic runs what is missing at every start (schema.py)."""
