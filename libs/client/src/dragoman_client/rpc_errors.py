# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A failed call, said for its caller: what gRPC itself writes is for those who wrote gRPC.

Errors of a service pass as they are. Those that the transport makes on this side (nobody listens, the port speaks
HTTP/1, the time is used up, the message is too large) get the target, the limit and what to do; the code stays.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dragoman_common.errors import DeadlineExceededError, DragomanError, OverloadedError, UnavailableError
from dragoman_common.status import translated

_TOO_LARGE = re.compile(r"(Sent|Received) message larger than max \((\d+) vs\. (\d+)\)", re.IGNORECASE)
_NOT_HTTP2 = ("Failed parsing HTTP/2", "http1", "HTTP/1")
_HANDSHAKE = ("handshake", "SSL", "TLS")
_TLS_REASONS = (
    ("has expired", "the certificate of {target} has ended, or this machine's clock is wrong"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of {target} is of no authority that this client trusts: name it (--ca FILE, tls_ca_file)",
    ),
    ("Hostname Verification", "the certificate of {target} holds another name: use the name that it is for"),
    ("WRONG_VERSION_NUMBER", "{target} speaks plaintext, not TLS: check the port, or leave --ca away"),
    ("Socket closed", "{target} closed the connection at once: it may speak TLS only (--ca FILE, or https://)"),
)
"""What gRPC's texts have in common with each other, in this order, and what they mean."""


@contextmanager
def explained(target: str) -> Iterator[None]:
    """Around a call to `target`: a failed one leaves the block as the DragomanError that it meant."""
    try:
        with translated():
            yield
    except (UnavailableError, DeadlineExceededError, OverloadedError) as error:
        text = explanation(error, target)
        if text is None:
            raise
        if isinstance(error, OverloadedError):
            raise OverloadedError(text, retry_after_s=None) from error
        raise type(error)(text) from error


def explanation(error: DragomanError, target: str) -> str | None:
    """What a text of the transport means; None for a text that is not the transport's."""
    text = error.message
    if isinstance(error, OverloadedError):
        found = _TOO_LARGE.search(text)
        if found is None:
            return None
        what = "request" if found[1].lower() == "sent" else "message"
        return f"the {what} has {found[2]} bytes, at most {found[3]}: send fewer or shorter texts in one call"
    if isinstance(error, DeadlineExceededError):
        if text != "Deadline Exceeded":
            return None
        return f"no answer from {target} in time: give the call more time (timeout_s), or see `dragoman status`"
    return _of_connection(text, target)


def _of_connection(text: str, target: str) -> str | None:
    """Why there is no connection."""
    if text.startswith("failed to connect"):
        for sign, meaning in _TLS_REASONS:
            if sign in text:
                return meaning.format(target=target)
    if any(sign in text for sign in _NOT_HTTP2):
        return f"{target} does not speak gRPC: it may be the HTTP port; `dragoman status` shows the gRPC target"
    if "Connection refused" in text:
        return f"nobody listens on {target}: start the platform (`dragoman up`), or name the gateway's gRPC port"
    if "errors resolving" in text:
        return f"the host of {target!r} is not known: the target must be host:port"
    if any(sign in text for sign in _HANDSHAKE):
        return f"{target} and this client agree on no TLS: check the port and the certificate ({text[-200:]})"
    if "failed to connect" in text:
        return f"{target} cannot be reached ({text[-200:]})"
    return None
