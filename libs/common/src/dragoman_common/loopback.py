# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which addresses never leave this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an IP address without brackets, is this machine's loopback. No name is looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
