# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The two ports that the platform keeps fixed, checked before anything is started."""

import socket
from dataclasses import dataclass

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError

GRPC_PORT_VARIABLE = "DRAGOMAN_GRPC_PORT"
HTTP_PORT_VARIABLE = "DRAGOMAN_HTTP_PORT"


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedPorts:
    """Where the gateway listens on loopback."""

    grpc: int = 9000
    http: int = 8080

    def check_free(self) -> None:
        """See that both can be bound.

        Raises:
            InvalidArgumentError: they are one port.
            FailedPreconditionError: one is in use; the message says how to choose another.
        """
        if self.grpc == self.http:
            raise InvalidArgumentError(
                f"--grpc-port and --http-port ({GRPC_PORT_VARIABLE}, {HTTP_PORT_VARIABLE}) are both {self.grpc}: "
                "gRPC and HTTP need a port each"
            )
        for port, option, variable in (
            (self.grpc, "--grpc-port", GRPC_PORT_VARIABLE),
            (self.http, "--http-port", HTTP_PORT_VARIABLE),
        ):
            if not _can_bind(port):
                raise FailedPreconditionError(
                    f"port {port} on 127.0.0.1 is in use by another program; "
                    f"end that program, or choose another port with {option} or {variable}"
                )


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that linger in TIME_WAIT do not keep the port from being listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody has now. Another program may take it before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
