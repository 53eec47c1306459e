# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The one table between errors and gRPC codes, in both directions."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from dragoman_common import errors

STATUS: dict[type[errors.DragomanError], grpc.StatusCode] = {
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.AbortedError: grpc.StatusCode.ABORTED,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DataLossError: grpc.StatusCode.DATA_LOSS,
    errors.UnimplementedError: grpc.StatusCode.UNIMPLEMENTED,
}
_ERRORS = {code: error for error, code in STATUS.items()}


def code_of(error: errors.DragomanError) -> grpc.StatusCode:
    """The code of an error, by the nearest of its classes that has a row; INTERNAL for one that has none."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), grpc.StatusCode.INTERNAL)


def status_details(error: errors.DragomanError) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata for an error: a google.rpc.RetryInfo where a retry has a time."""
    if not isinstance(error, errors.OverloadedError) or error.retry_after_s is None:
        return ()
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(error.retry_after_s * 1e9))
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message, details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def error_from_rpc(failure: grpc.RpcError) -> errors.DragomanError:
    """What a failed call meant. A code without a row (INTERNAL, UNKNOWN, CANCELLED) becomes a plain DragomanError."""
    code, text = failure.code(), failure.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.OverloadedError(text, retry_after_s=_retry_delay_s(failure))
    if code not in _ERRORS:
        return errors.DragomanError(f"{code.name}: {text}")
    return _ERRORS[code](text)


@contextmanager
def translated() -> Iterator[None]:
    """Around client calls: a failed call leaves the block as the DragomanError that it meant."""
    try:
        yield
    except grpc.RpcError as failure:
        raise error_from_rpc(failure) from failure


def _retry_delay_s(failure: grpc.RpcError) -> float | None:
    try:
        status = rpc_status.from_call(failure)  # type: ignore[arg-type]
    except ValueError:
        return None
    info = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds()) / 1e9
    return None
