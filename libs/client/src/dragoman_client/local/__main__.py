# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The supervisor as a process of its own: what `dragoman up --detach` leaves running."""

import asyncio
import os
import sys
from pathlib import Path

from dragoman_client.local.home import Home
from dragoman_client.local.platform import Platform
from dragoman_client.local.ports import FixedPorts
from dragoman_common.errors import DragomanError


def main(arguments: list[str]) -> int:
    """Arguments: the home, the gRPC port, the HTTP port."""
    home, grpc_port, http_port = arguments
    platform = Platform(Home(Path(home)), os.environ)
    try:
        state = asyncio.run(platform.supervise(FixedPorts(grpc=int(grpc_port), http=int(http_port)), lambda _: None))
    except DragomanError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 1 if state.phase == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
