# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names that callers choose, as the registry checks them; the rule is the platform's: dragoman_common.names."""

from dragoman_common.names import check_name

__all__ = ["check_name"]
