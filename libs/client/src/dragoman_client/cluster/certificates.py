# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Certificates for the services of one installation, by an authority of its own.

    <prefix>-ca            the authority: made once, never replaced
    <prefix>-tls-<service> tls.crt, tls.key, ca.crt; made again when a name is missing in it, or its end is near

For whoever has no cert-manager. The authority's key is in the namespace, as every service's key is.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dragoman_client.cluster.ports import Files, SecretObjects
from dragoman_common.clock import Clock
from dragoman_common.errors import DataLossError, NotFoundError

_URI = "dragoman:identity/"
_LIFETIME = timedelta(days=5 * 365)
_AUTHORITY_LIFETIME = timedelta(days=20 * 365)
_LEAST_LEFT = timedelta(days=60)
_LEEWAY = timedelta(minutes=10)
"""Clocks of nodes may be behind the one that issues."""


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_certificates(
    objects: SecretObjects, prefix: str, wanted: Mapping[str, Sequence[str]], clock: Clock
) -> list[str]:
    """Make the authority and the certificates that are missing, and those again that no longer do.

    Args:
        objects: where they are kept.
        prefix: what their names begin with.
        wanted: service -> DNS names or addresses that its certificate must hold, beside the service's SAN URI.
        clock: when they begin.

    Returns:
        The names of the objects that were made or replaced.

    Raises:
        DataLossError: the authority's Secret holds something else.
    """
    now = clock.now()
    name, made = f"{prefix}-ca", []
    files = objects.read("Secret", name)
    if files is None:
        files = _new_authority(prefix, now)
        objects.create("Secret", name, files)
        made.append(name)
    authority = _authority(name, files)
    for service, names in wanted.items():
        secret = f"{prefix}-tls-{service}"
        current = objects.read("Secret", secret)
        if current is not None and _still_does(current, authority, service, names, now):
            continue
        issued = _issue(authority, service, names, now)
        if current is None:
            objects.create("Secret", secret, issued, is_final=False)
        else:
            objects.replace("Secret", secret, issued)
        made.append(secret)
    return made


def tell_authority(objects: SecretObjects, there: SecretObjects, prefix: str) -> list[str]:
    """Put the authority's certificate, and no key, into the ConfigMap <prefix>-ca of a namespace."""
    name = f"{prefix}-ca"
    authority = objects.read("Secret", name)
    if authority is None:
        raise NotFoundError(f"Secret {name} is not there: its certificates come first")
    wanted = {"ca.crt": authority["tls.crt"]}
    current = there.read("ConfigMap", name)
    if current == wanted:
        return []
    if current is None:
        there.create("ConfigMap", name, wanted, is_final=False)
    else:
        there.replace("ConfigMap", name, wanted)
    return [name]


def _new_authority(prefix: str, now: datetime) -> Files:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{prefix} authority")])
    certificate = (
        _dated(x509.CertificateBuilder(), now, _AUTHORITY_LIFETIME)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {"tls.crt": certificate.public_bytes(Encoding.PEM), "tls.key": _pem(key)}


def _authority(name: str, files: Files) -> _Authority:
    try:
        key = load_pem_private_key(files["tls.key"], password=None)
        certificate = x509.load_pem_x509_certificate(files["tls.crt"])
    except (KeyError, ValueError, TypeError):
        raise DataLossError(f"Secret {name} does not hold a certificate and its key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DataLossError(f"Secret {name} holds a key of another kind than this command makes")
    return _Authority(certificate, key)


def _issue(authority: _Authority, service: str, names: Sequence[str], now: datetime) -> Files:
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _dated(x509.CertificateBuilder(), now, _LIFETIME)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_names(service, names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return {
        "tls.crt": certificate.public_bytes(Encoding.PEM),
        "tls.key": _pem(key),
        "ca.crt": authority.certificate.public_bytes(Encoding.PEM),
    }


def _still_does(files: Files, authority: _Authority, service: str, names: Sequence[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files["tls.crt"])
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(authority.certificate)
    except (KeyError, ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    return set(_names(service, names)) <= set(held) and certificate.not_valid_after_utc - now > _LEAST_LEFT


def _names(service: str, names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(f"{_URI}{service}"), *(_alternative(name) for name in names)]
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _dated(builder: x509.CertificateBuilder, now: datetime, lifetime: timedelta) -> x509.CertificateBuilder:
    return builder.not_valid_before(now - _LEEWAY).not_valid_after(now + lifetime)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
