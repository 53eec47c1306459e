# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The errors that a caller of Dragoman can meet. No gRPC here: status.py maps them to codes.

    DragomanError
    ├── InvalidArgumentError      the request can never succeed as it is
    ├── UnauthenticatedError      who is asking is not known
    ├── PermissionDeniedError     known, and not allowed
    ├── NotFoundError             no such thing, or not for this caller
    ├── AlreadyExistsError        the name is taken by other content
    ├── AbortedError              somebody else was first: read again, then decide
    ├── FailedPreconditionError   not in this state of the system
    ├── OverloadedError           too much at once: come back after retry_after_s
    ├── DeadlineExceededError     the time that the caller gave is used up
    ├── UnavailableError          a part is away: the same call may be sent again
    ├── DataLossError             stored bytes are not what was signed
    └── UnimplementedError        known to the protocol, not done here

The message is for the caller: it names the field, the limit, and what to do. Services subclass by meaning.
"""

from enum import StrEnum


class DragomanError(Exception):
    """An error whose text the caller may read."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgumentError(DragomanError):
    pass


class AuthFailure(StrEnum):
    """Why somebody was not let in: for meters, so a small set."""

    NO_CREDENTIAL = "no_credential"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a reason
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a reason
    UNKNOWN_KEY = "unknown_key"
    CERTIFICATE = "certificate"
    MISMATCH = "mismatch"
    NOT_ALLOWED = "not_allowed"


class UnauthenticatedError(DragomanError):
    """Who calls is not known. `failure` is for meters; the message is for the caller."""

    def __init__(self, message: str, *, failure: AuthFailure = AuthFailure.INVALID_TOKEN) -> None:
        super().__init__(message)
        self.failure = failure


class PermissionDeniedError(DragomanError):
    pass


class NotFoundError(DragomanError):
    pass


class AlreadyExistsError(DragomanError):
    pass


class AbortedError(DragomanError):
    pass


class FailedPreconditionError(DragomanError):
    pass


class OverloadedError(DragomanError):
    """Refused to protect the others. Callers retry after `retry_after_s`, or not at all where it is None."""

    def __init__(self, message: str, *, retry_after_s: float | None = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceededError(DragomanError):
    pass


class UnavailableError(DragomanError):
    pass


class DataLossError(DragomanError):
    pass


class UnimplementedError(DragomanError):
    pass
