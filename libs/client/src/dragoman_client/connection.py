# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How the SDK reaches a gateway: plaintext on this machine only, TLS to every other, a bearer token on each call."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from dragoman_common.errors import InvalidArgumentError, UnauthenticatedError

DEFAULT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HTTPS = "https://"


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """A gateway and the token for it."""

    target: str
    """host:port, or https://host:port for TLS also on this machine; without a port https is 443"""
    token: str
    tls_ca_file: Path | None = None
    """Roots to trust, for a gateway with a certificate of your own; the system's otherwise."""

    def __post_init__(self) -> None:
        if "://" in self.target and not self.target.startswith(_HTTPS):
            raise InvalidArgumentError(
                f"target {self.target[:80]!r}: give host:port, or https://host:port; this is the gRPC side, not REST"
            )
        # gRPC calls such a header "Invalid metadata", after the call was made.
        if not self.token.isascii() or not self.token.isprintable():
            raise UnauthenticatedError(
                "the token holds a line break or other characters that no token has; `dragoman token` prints a good one"
            )

    @property
    def address(self) -> str:
        """host:port, as gRPC takes it."""
        if not self.target.startswith(_HTTPS):
            return self.target
        host = self.target.removeprefix(_HTTPS).rstrip("/")
        return host if host.rpartition(":")[2].isdecimal() else f"{host}:443"

    @property
    def is_local(self) -> bool:
        return self.address.rpartition(":")[0] in _LOOPBACK

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        return (
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        )

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None for plaintext, which only a loopback target gets: no token leaves this machine in the clear."""
        if self.is_local and self.tls_ca_file is None and not self.target.startswith(_HTTPS):
            return None
        try:
            return grpc.ssl_channel_credentials(self.tls_ca_file.read_bytes() if self.tls_ca_file else None)
        except OSError as error:
            raise InvalidArgumentError(f"{self.tls_ca_file} cannot be read: {error.strerror}") from None


def check_timeout(timeout_s: float) -> float:
    """Every call has a deadline.

    Raises:
        InvalidArgumentError: the timeout is not above 0.
    """
    if not timeout_s > 0:
        raise InvalidArgumentError(f"timeout_s: {timeout_s} is not above 0; every call needs a deadline")
    return timeout_s
