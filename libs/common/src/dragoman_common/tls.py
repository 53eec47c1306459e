# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""TLS of a service: the settings, and what its servers and channels are made with.

    settings -> files (tls_files.py) -> gRPC server credentials, asked for anew at each handshake
                                     -> an SSLContext for HTTP, asked for anew at each connection
                                     -> channel credentials, made anew when the files have changed

TLS 1.2 is the least in all three: gRPC's own floor, and set here for HTTP.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from dragoman_common.peers import Peers
from dragoman_common.tls_files import Material, Places, TlsFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsSettings:
    """Files in PEM, each read again when it changes. Without any: plaintext, and tokens as ever."""

    tls_cert_file: Path | None = None
    """The service's certificate, with the intermediate ones after it. Set it and the service speaks only TLS; its
    channels show the same one."""
    tls_key_file: Path | None = None
    """The certificate's private key, closed to others."""
    tls_client_ca_file: Path | None = None
    """Authorities of client certificates. Set it and nobody connects without one; one that names an identity may call
    without a token."""
    tls_ca_file: Path | None = None
    """Authorities that this service's channels trust. Set it and all of them are TLS."""
    tls_identities: tuple[str, ...] = ()
    """dns-name=identity, comma-separated: client certificates without a SAN URI dragoman:identity/<name>."""

    def __post_init__(self) -> None:
        """Read every file once, so that a process with a bad one does not start.

        Raises:
            ValueError: with the setting's name.
        """
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE go together: set both or none")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError("TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE: plaintext has no certificates")
        if self.tls_identities and not self.tls_client_ca_file:
            raise ValueError("TLS_IDENTITIES needs TLS_CLIENT_CA_FILE: no other certificate is asked for")
        try:
            self.peers()
        except ValueError as error:
            raise ValueError(f"TLS_IDENTITIES: {error}") from None
        self.server()
        self.channels()

    def server(self) -> "ServerTls | None":
        """For servers; None where they speak plaintext."""
        return ServerTls(self) if self.tls_cert_file else None

    def channels(self) -> "ChannelTls | None":
        """For channels; None where they speak plaintext."""
        if self.tls_ca_file is None:
            return None
        return ChannelTls(self.tls_ca_file, chain=self.tls_cert_file, key=self.tls_key_file)

    def peers(self) -> Peers | None:
        """What reads client certificates; None where none are asked for."""
        return Peers.parse(self.tls_identities) if self.tls_client_ca_file else None


class ServerTls:
    """The server's side.

    Raises:
        TlsFileError: a file cannot be used.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._is_client_asked = settings.tls_client_ca_file is not None
        self._paths = (settings.tls_cert_file, settings.tls_key_file)
        self._files = TlsFiles(
            Places(
                chain=settings.tls_cert_file,
                key=settings.tls_key_file,
                authorities=settings.tls_client_ca_file,
                authorities_setting="TLS_CLIENT_CA_FILE",
            )
        )
        self._context: tuple[Material, ssl.SSLContext] | None = None

    def ends_s(self) -> float:
        """When the certificate in use ends, in seconds since 1970."""
        ends = self._files.current().ends
        return ends.timestamp() if ends else 0.0

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. grpcio can ask for client certificates only by requiring them."""
        served = self._files.current()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # Called in a thread of gRPC's at each handshake; None keeps what is had.
            nonlocal served
            newest = self._files.current()
            if newest is served:
                return None
            served = newest
            return _configuration(newest)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(served),
            renewed,  # type: ignore[arg-type]  # its documentation takes None
            require_client_authentication=self._is_client_asked,
        )

    def context(self) -> ssl.SSLContext:
        """For the next connection of an HTTP server. Use it from one thread."""
        newest = self._files.current()
        if self._context is None or self._context[0] is not newest:
            try:
                self._context = (newest, self._fresh_context(newest))
            except (ssl.SSLError, OSError):
                # The files were replaced between the two reads; the next connection looks again.
                if self._context is None:
                    raise
        return self._context[1]

    def _fresh_context(self, material: Material) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        chain, key = self._paths
        assert chain is not None  # noqa: S101 - there is no ServerTls without one
        # The module takes paths only; that they are a pair was seen a moment ago, and is seen again by it.
        context.load_cert_chain(chain, key)
        if self._is_client_asked:
            context.load_verify_locations(cadata=material.authorities.decode())
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class ChannelTls:
    """The channels' side: whom they trust, and the certificate that they show.

    Args:
        authorities: file of certificates that are trusted.
        chain, key: the own certificate and its key, or neither.

    Raises:
        TlsFileError: a file cannot be used.
    """

    def __init__(self, authorities: Path, *, chain: Path | None = None, key: Path | None = None) -> None:
        self._files = TlsFiles(Places(chain=chain, key=key, authorities=authorities))

    def current(self) -> Material:
        """What the next channel is to be made of: another object once the files have changed."""
        return self._files.current()


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    """Credentials that trust the authorities of `material` alone, and show its certificate if it has one."""
    return grpc.ssl_channel_credentials(material.authorities, material.key or None, material.chain or None)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.chain)], root_certificates=material.authorities or None
    )
