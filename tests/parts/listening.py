# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a process listens for TCP connections, as Linux says it."""

import ipaddress
import struct
from pathlib import Path

_LISTEN = "0A"


def addresses(pid: int) -> set[tuple[str, int]]:
    """Return host and port of every listening TCP socket of a process. An IPv4 address in IPv6 form reads as IPv4."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                found.add(_parsed(fields[1]))
    return found


def _parsed(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    # The kernel writes each 32-bit word of an address in its own byte order.
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    host = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return str(mapped or host), int(port, 16)
