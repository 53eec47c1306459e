# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The one table between errors and HTTP statuses, beside dragoman_common.status for gRPC."""

import math
from http import HTTPStatus

from aiohttp import web

from dragoman_common import errors
from dragoman_common.status import code_of

HTTP_STATUS: dict[type[errors.DragomanError], HTTPStatus] = {
    errors.InvalidArgumentError: HTTPStatus.BAD_REQUEST,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.PermissionDeniedError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.AlreadyExistsError: HTTPStatus.CONFLICT,
    errors.AbortedError: HTTPStatus.CONFLICT,
    errors.FailedPreconditionError: HTTPStatus.CONFLICT,
    errors.OverloadedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DataLossError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.UnimplementedError: HTTPStatus.NOT_IMPLEMENTED,
}


def response_of(error: errors.DragomanError) -> web.Response:
    """The answer for an error: the protocol's `error` text, and the gRPC code's name beside it."""
    status = next(HTTP_STATUS[cls] for cls in type(error).__mro__ if cls in HTTP_STATUS)
    headers = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.OverloadedError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.UnavailableError):
        headers["Retry-After"] = "1"
    return refusal(status, error.message, code_of(error).name, headers)


def refusal(status: int, text: str, code: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer with an error's text."""
    return web.json_response({"error": text, "code": code}, status=status, headers=headers)
