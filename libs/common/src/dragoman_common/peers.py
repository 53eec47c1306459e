# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who calls, by the client certificate that the TLS layer has verified.

    auth context of a call -> SAN URI dragoman:identity/<name>, or a DNS SAN that a setting knows -> identity -> Caller

Owns what a certificate says. Whether it was issued by an authority that counts was decided in the handshake; what the
identity may call is the policy table's.
"""

from collections.abc import Iterable, Mapping

from dragoman_common.auth import BY_CERTIFICATE, PLATFORM, Caller
from dragoman_common.errors import AuthFailure, UnauthenticatedError

URI_PREFIX = "dragoman:identity/"
AuthContext = Mapping[str, Iterable[bytes]]


class Peers:
    """Reads identities from certificates.

    Args:
        dns_names: DNS name -> identity, for certificates whose issuer writes no URI of ours.
    """

    def __init__(self, dns_names: Mapping[str, str]) -> None:
        self._dns_names = {name.lower(): identity for name, identity in dns_names.items()}

    @classmethod
    def parse(cls, items: Iterable[str]) -> "Peers":
        """Take `dns-name=identity` items.

        Raises:
            ValueError: an item is none, a name is given twice, or an identity may not call by certificate.
        """
        names: dict[str, str] = {}
        for item in items:
            name, equals, identity = item.partition("=")
            name = name.strip().lower()
            if not equals or not name or identity.strip() not in BY_CERTIFICATE:
                raise ValueError(f"{item!r} is not dns-name=identity, with one of {', '.join(sorted(BY_CERTIFICATE))}")
            if name in names:
                raise ValueError(f"{name!r} is given twice")
            names[name] = identity.strip()
        return cls(names)

    def identity(self, context: AuthContext) -> str:
        """The identity that a call's certificate names, or "" where it names none or there is no certificate.

        Raises:
            UnauthenticatedError: it names two.
        """
        uris = [value.decode(errors="replace") for value in context.get("peer_uri", ())]
        names = [value.decode(errors="replace").lower() for value in context.get("peer_dns", ())]
        found = {uri.removeprefix(URI_PREFIX) for uri in uris if uri.startswith(URI_PREFIX)}
        found |= {self._dns_names[name] for name in names if name in self._dns_names}
        if len(found) > 1:
            raise UnauthenticatedError(
                "the client certificate names more than one identity", failure=AuthFailure.CERTIFICATE
            )
        return found.pop() if found else ""

    def caller(self, context: AuthContext, metadata: Mapping[str, str | bytes]) -> Caller:
        """The caller of a call that brings no token.

        Raises:
            UnauthenticatedError: no certificate, or one that names nobody who may call by certificate.
        """
        identity = self.identity(context)
        if not identity:
            raise UnauthenticatedError(
                "no credential: send the metadata entry `authorization: Bearer <token>`, or a client certificate that "
                f"names an identity ({URI_PREFIX}<name>)",
                failure=AuthFailure.NO_CREDENTIAL,
            )
        if identity not in BY_CERTIFICATE:
            raise UnauthenticatedError(
                "the client certificate's identity is not one that may call without a token",
                failure=AuthFailure.CERTIFICATE,
            )
        tenant, subject = "", identity
        if identity in PLATFORM:
            tenant, said = _text(metadata, "dragoman-tenant"), _text(metadata, "dragoman-subject")
            subject = said or identity
        return Caller(identity=identity, tenant=tenant, subject=subject)

    def check(self, context: AuthContext, caller: Caller) -> None:
        """Hold a token's caller against the certificate on the same connection.

        Raises:
            UnauthenticatedError: they name two identities.
        """
        identity = self.identity(context)
        if identity and identity != caller.identity:
            raise UnauthenticatedError(
                "the token and the client certificate name different identities", failure=AuthFailure.MISMATCH
            )


def _text(metadata: Mapping[str, str | bytes], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""
