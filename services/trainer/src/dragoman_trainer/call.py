# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How the job calls the platform: plain synchronous gRPC, since a training run has no event loop.

Owns the channel options, the job's token on every call, and the retries of the two calls that are safe to repeat. The
token is read anew for each attempt, so that a replaced file is noticed.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import grpc

from dragoman_common.errors import DragomanError, NotFoundError, OverloadedError, UnavailableError
from dragoman_common.status import error_from_rpc

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 << 20
RETRY_DELAYS_S = (0.2, 1.0, 5.0)

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


class Credential(Protocol):
    """Says for which job a call is made."""

    def metadata(self) -> Metadata:
        """Return the call metadata that carries the job's token.

        Raises:
            DragomanError: there is none.
        """
        ...


def open_channel(target: str, *, ca_file: Path | None = None) -> grpc.Channel:
    """Return a channel to a service of the platform on the loopback or in the cluster's network.

    Args:
        target: host:port.
        ca_file: Certificates in PEM that are trusted; None calls in plaintext.

    Raises:
        NotFoundError: the file cannot be read.
    """
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # Retries happen in call_with_retries, in one place, and are logged.
        ("grpc.enable_retries", 0),
    ]
    if ca_file is None:
        return grpc.insecure_channel(target, options=options)
    try:
        authorities = ca_file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"TLS_CA_FILE {ca_file} cannot be read") from error
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(authorities), options=options)


class JobToken:
    """The job's credential, from a file that the launcher wrote for it."""

    def __init__(self, path: Path) -> None:
        """Remember the path; the file is read per call."""
        self._path = path

    def metadata(self) -> Metadata:
        """Return the call metadata that carries the token.

        Raises:
            UnavailableError: the file cannot be read.
        """
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UnavailableError(f"the job's token file {self._path} cannot be read") from error
        return (("authorization", f"Bearer {token}"),)


def call_once(call: Callable[[], T]) -> T:
    """Make one call.

    Raises:
        DragomanError: what the failed call meant.
    """
    try:
        return call()
    except grpc.RpcError as failure:
        raise error_from_rpc(failure) from failure


def call_with_retries(what: str, call: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Make an idempotent call, again after 0.2, 1 and 5 s while the service is away or overloaded.

    Raises:
        DragomanError: what the last failed call meant.
    """
    for delay_s in RETRY_DELAYS_S:
        try:
            return call_once(call)
        except (UnavailableError, OverloadedError) as error:
            logger.warning("%s failed, trying again", what, extra={"reason": error.message, "delay_s": delay_s})
            sleep(delay_s)
        except DragomanError:
            raise
    return call_once(call)
