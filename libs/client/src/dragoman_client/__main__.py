# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m dragoman_client`: the `dragoman` command, as the image `client` starts it."""

from dragoman_client.cli.app import main

main()
