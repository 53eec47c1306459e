# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A gateway whose name service is a file: `workers.test` has the addresses that the file lists, one a line.

python -m tests.integration.named_gateway FILE: the gateway as it is wired but for that, settings from the environment.
"""

import functools
import socket
import sys
from pathlib import Path

from dragoman_common.resolver import Resolver
from dragoman_gateway import __main__ as wiring

NAME = "workers.test"


def look_up(path, host, port, *, type):  # noqa: A002 - getaddrinfo's name
    """What getaddrinfo answers; a file that is not there is a name service that is away."""
    if host != NAME:
        return socket.getaddrinfo(host, port, type=type)
    try:
        addresses = path.read_text().split()
    except FileNotFoundError:
        raise socket.gaierror(socket.EAI_AGAIN, "the name service is away") from None
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return [(socket.AF_INET, type, 6, "", (address, port)) for address in addresses]


if __name__ == "__main__":
    wiring.Resolver = functools.partial(Resolver, functools.partial(look_up, Path(sys.argv[1])))
    wiring.main()
