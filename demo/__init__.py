# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The closed loop on real text, from outside: everything goes through the command, the SDK, or a raw call."""
