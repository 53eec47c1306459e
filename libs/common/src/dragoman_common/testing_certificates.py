# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""For tests: a certificate authority made on the spot, and the certificates that it issues, as files.

Keys live as long as the test; nothing of this is committed or trusted by anybody else.
"""

import ipaddress
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dragoman_common.peers import URI_PREFIX
from dragoman_common.tls import TlsSettings

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """PEM of one certificate and its key."""

    chain: bytes
    key: bytes

    def save(self, folder: Path, *, authorities: bytes = b"") -> "CertificateFiles":
        """Write the three files as cert-manager's volume has them: behind a link that `replace` swaps."""
        folder.mkdir(parents=True, exist_ok=True)
        files = CertificateFiles(folder)
        files.replace(self, authorities=authorities)
        return files


class CertificateFiles:
    """tls.crt, tls.key and ca.crt in a folder whose content is replaced in one step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.chain, self.key, self.authorities = (folder / "data" / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self._num_saved = 0

    def replace(self, certificate: Certificate, *, authorities: bytes = b"") -> None:
        """Put other content in the place of what is there."""
        self._num_saved += 1
        version = self._folder / f"version{self._num_saved}"
        version.mkdir()
        (version / "tls.crt").write_bytes(certificate.chain)
        (version / "tls.key").touch(mode=0o600)
        (version / "tls.key").write_bytes(certificate.key)
        (version / "ca.crt").write_bytes(authorities or self._authorities())
        link = self._folder / "next"
        link.symlink_to(version.name)
        link.rename(self._folder / "data")
        if self._num_saved > 1:
            shutil.rmtree(self._folder / f"version{self._num_saved - 1}")

    def _authorities(self) -> bytes:
        return self.authorities.read_bytes() if self.authorities.exists() else b""

    @property
    def server(self) -> Mapping[str, Path]:
        """The settings of a server that asks for no client certificate."""
        return {"tls_cert_file": self.chain, "tls_key_file": self.key}

    def settings(self, *, is_mutual: bool = False, identities: Sequence[str] = ()) -> TlsSettings:
        """A service of this certificate, whose channels trust the same authorities."""
        return TlsSettings(
            tls_cert_file=self.chain,
            tls_key_file=self.key,
            tls_ca_file=self.authorities,
            tls_client_ca_file=self.authorities if is_mutual else None,
            tls_identities=tuple(identities),
        )


class TestAuthority:
    """Issues certificates."""

    __test__ = False

    def __init__(self, name: str = "Dragoman test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), now - _DAY, now + 2 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        identity: str = "",
        uris: Sequence[str] = (),
        begins: datetime | None = None,
        ends: datetime | None = None,
    ) -> Certificate:
        """A certificate for both sides of a connection.

        Args:
            names: DNS names or addresses; 127.0.0.1 and localhost if there are none.
            identity: written as the SAN URI of this platform.
            uris: further SAN URIs.
            begins: a day ago unless given.
            ends: in a day unless given.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        all_uris = [*uris, *([URI_PREFIX + identity] if identity else [])]
        alternatives = [_alternative(name) for name in names or ("127.0.0.1", "localhost")]
        alternatives += [x509.UniformResourceIdentifier(uri) for uri in all_uris]
        certificate = (
            _builder(_name("service"), self._name, key.public_key(), begins or now - _DAY, ends or now + _DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Certificate(chain=certificate.public_bytes(Encoding.PEM), key=pem)

    def files(self, folder: Path, *names: str, identity: str = "") -> CertificateFiles:
        """Issue, and save with this authority as the one that is trusted."""
        return self.issue(*names, identity=identity).save(folder, authorities=self.pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=ends,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
