# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who is let in to a method: by a token, by a client certificate, or by both where they agree.

    token there  -> policy, before there is a handler -> in the handler: does the certificate name somebody else?
    no token     -> in the handler, the only place where grpcio shows the certificate -> policy

A call without a token is refused at once where no client certificates are asked for.
"""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import grpc

from dragoman_common import auth_meter
from dragoman_common.auth import ANYONE, Authenticator, Caller, PolicyTable, authorise
from dragoman_common.errors import DragomanError, PermissionDeniedError, UnauthenticatedError
from dragoman_common.peers import AuthContext, Peers
from dragoman_common.refusals import Refusals

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    # The stubs' generics do not exist at run time.
    Handler = Context = Any

Metadata = Mapping[str, str | bytes]


class Admission:
    """Holds each call of a server against its policy table.

    Args:
        policy: full method name -> identities that may call it.
        authenticator: who calls, by its token.
        peers: who calls, by its certificate; None where there are none.
        refusals: how calls are ended.
    """

    def __init__(
        self, policy: PolicyTable, authenticator: Authenticator, peers: Peers | None, refusals: Refusals
    ) -> None:
        self._policy = policy
        self._authenticator = authenticator
        self._peers = peers
        self._refusals = refusals

    def by_token(self, method: str, metadata: Metadata) -> Caller | None:
        """The caller, or None where only the handler can tell.

        Raises:
            DragomanError: as `authorise`.
        """
        if self._peers and "authorization" not in metadata and self._policy.get(method) != ANYONE:
            return None
        try:
            return authorise(method, self._policy, self._authenticator, metadata)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            auth_meter.count(error)
            raise

    async def admitted(
        self,
        method: str,
        caller: Caller | None,
        metadata: Metadata,
        requests: AsyncIterator[bytes],
        context: Context,
        *,
        is_streaming: bool,
    ) -> Caller:
        """The caller that token and certificate agree on; the call ends here where it is nobody who may call.

        Args:
            method: full name.
            caller: what `by_token` has said.
            metadata: the call's.
            requests: what the handler was given to read.
            context: the call's.
            is_streaming: whether the method's requests are a stream.
        """
        try:
            return self._by_certificate(method, caller, metadata, context)
        except DragomanError as error:
            auth_meter.count(error)
            await self._refusals.end(error, requests if is_streaming else None, context)

    def _by_certificate(self, method: str, caller: Caller | None, metadata: Metadata, context: Context) -> Caller:
        if self._peers is None:
            assert caller is not None  # noqa: S101 - by_token leaves nobody open then
            return caller
        if caller is None:
            authenticator = _CallAuthenticator(self._peers, context.auth_context())
            return authorise(method, self._policy, authenticator, metadata)
        if self._policy.get(method) != ANYONE:
            self._peers.check(context.auth_context(), caller)
        return caller

    def not_served(self, method: str, metadata: Metadata) -> Handler:
        """For a method that there is not: says so to who has a certificate; to anyone else, that they have none."""

        async def refuse(requests: AsyncIterator[bytes], context: Context) -> None:
            await self.admitted(method, None, metadata, requests, context, is_streaming=True)

        return grpc.stream_stream_rpc_method_handler(refuse)


class _CallAuthenticator:
    """Knows one call's certificate."""

    def __init__(self, peers: Peers, certificate: AuthContext) -> None:
        self._peers = peers
        self._certificate = certificate

    def authenticate(self, metadata: Metadata) -> Caller:
        return self._peers.caller(self._certificate, metadata)
