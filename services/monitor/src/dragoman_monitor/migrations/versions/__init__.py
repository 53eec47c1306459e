# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One step a file, oldest first by its number. A step only adds: the build before it may be running (README.md)."""
