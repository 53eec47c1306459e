# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway knows of a model version: enough to check a request, to route it, and to name its answer."""

from dataclasses import dataclass

from dragoman_common.errors import FailedPreconditionError, NotFoundError


class ModelNotFoundError(NotFoundError):
    """No such model, alias or version in the caller's tenant."""


class VersionNotPlacedError(FailedPreconditionError):
    """No worker is ready for the version, and nothing that points at it will make one so."""


class VersionWithdrawnError(FailedPreconditionError):
    """The version was taken out of use for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionKey:
    """One version, named whole: a worker that holds another digest under the same number does not count."""

    tenant: str
    model: str
    number: int
    root_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedVersion:
    """The verified facts of a version that requests are checked against.

    `labels` are in the order of the scores; `max_text_bytes` and `max_tokens` hold for one row.
    """

    key: VersionKey
    task: str
    architecture: str
    labels: tuple[str, ...]
    max_text_bytes: int
    max_tokens: int
