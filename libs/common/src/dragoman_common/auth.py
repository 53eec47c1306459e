# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who is calling, and which identities may call what.

Owns service identities: an Ed25519 key each, and short-lived tokens signed with it. Users' tokens are the gateway's
(dragoman_gateway.user_tokens); no other service accepts one.

    metadata -> Authenticator -> Caller -> policy table -> handler

A service token is a JWT (RFC 7519, EdDSA): iss = the key's owner, sub = the identity that calls, aud = the service
called.
They are the same, but for a training job, whose token the launcher signs: it binds the job's tenant and id.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dragoman_common.errors import (
    AuthFailure,
    DragomanError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Services that act for tenants: what they say of a call's tenant is believed. From anyone else it is not even read.
PLATFORM = frozenset({"gateway", "tokenizer", "registry", "worker", "launcher", "monitor", "autoscaler"})
# Identities whose tokens bind one tenant.
TENANT_BOUND = frozenset({"operator", "trainer"})
# Identities that a client certificate may stand for without a token. KEDA can send none.
BY_CERTIFICATE = PLATFORM | {"keda"}

# Policy rows that name no identity: nobody need say who they are, or everybody who has said so may call.
ANYONE = frozenset({"*"})
AUTHENTICATED = frozenset({"+"})

PolicyTable = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who makes a call, and for whom."""

    identity: str
    # Empty where a platform service calls for itself.
    tenant: str
    subject: str
    # The job that a trainer's token is for.
    job_id: str = ""
    # The only model that this job may publish to.
    job_model: str = ""
    # Models that a user's token names; "*" is all.
    models: frozenset[str] = frozenset()


class Authenticator(Protocol):
    """Turns a call's metadata into its caller, before a byte of the request is parsed."""

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """The caller.

        Raises:
            UnauthenticatedError: no credential, or one that does not hold; the message says what is wrong with it.
        """
        ...


def bearer_token(metadata: Mapping[str, str | bytes]) -> str:
    """The token of an `authorization: Bearer ...` entry.

    Raises:
        UnauthenticatedError: there is none.
    """
    value = metadata.get("authorization", "")
    if not isinstance(value, str) or not value.lower().startswith("bearer ") or not value[7:].strip():
        raise UnauthenticatedError(
            "no credential: send the metadata entry `authorization: Bearer <token>`", failure=AuthFailure.NO_CREDENTIAL
        )
    return value[7:].strip()


def authorise(
    method: str, policy: PolicyTable, authenticator: Authenticator, metadata: Mapping[str, str | bytes]
) -> Caller:
    """Hold one call against the policy table: default deny, and who calls is known before what is called is said.

    Raises:
        UnauthenticatedError: the caller is not known.
        UnimplementedError: no such method is served.
        PermissionDeniedError: the method is not for this identity.
    """
    allowed = policy.get(method)
    if allowed == ANYONE:
        return Caller(identity="", tenant="", subject="")
    caller = authenticator.authenticate(metadata)
    if allowed is None:
        raise UnimplementedError(f"{method} is not served here")
    if allowed != AUTHENTICATED and caller.identity not in allowed:
        raise PermissionDeniedError(f"{caller.identity or 'this caller'} may not call {method}")
    return caller


_current: ContextVar[Caller | None] = ContextVar("dragoman_caller", default=None)
_acting_for: ContextVar[tuple[str, str] | None] = ContextVar("dragoman_acting_for", default=None)


def current_caller() -> Caller:
    """The caller of the call being handled.

    Raises:
        DragomanError: outside a call: a defect of ours.
    """
    caller = _current.get()
    if caller is None:
        raise DragomanError("no call is being handled here")
    return caller


def set_current_caller(caller: Caller) -> None:
    """For the server: the rest of this task handles a call of `caller`."""
    _current.set(caller)


@contextmanager
def calling_as(tenant: str, subject: str = "") -> "Iterator[None]":
    """Outgoing calls of this block are for `tenant`, whoever the current caller is."""
    token = _acting_for.set((tenant, subject))
    try:
        yield
    finally:
        _acting_for.reset(token)


def acting_for() -> tuple[str, str]:
    """(tenant, subject) that outgoing calls are made for; empty strings where there is none."""
    explicit = _acting_for.get()
    if explicit is not None:
        return explicit
    caller = _current.get()
    return (caller.tenant, caller.subject) if caller else ("", "")
