# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Certificates, keys and authorities in PEM files that are replaced while the process runs, as cert-manager does.

    files -> changed? -> read, held against each other -> Material    or: what is had stays, and an audit line says why

Owns what files must be like to be used. What is made of them is tls.py's.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from dragoman_common.audit import Audit

CHECK_PERIOD_S = 1.0
"""Files are looked at no oftener."""
RETRY_PERIOD_S = 30.0
"""What was refused is read again then, unchanged as it is: a certificate may begin a little after it was written."""
_OTHERS = 0o007
_MAX_BYTES = 1 << 20
_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

_logger = logging.getLogger(__name__)


class TlsFileError(ValueError):
    """A file cannot be used; the text begins with the setting that names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What the files held at one time. Two reads are two objects."""

    chain: bytes = b""
    """PEM, the own certificate first; empty where there is none."""
    key: bytes = field(default=b"", repr=False)
    """PEM."""
    authorities: bytes = b""
    """PEM certificates that are trusted; empty where there are none."""
    ends: datetime | None = None
    """The end of the own certificate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Which files, and which setting names each of them."""

    chain: Path | None = None
    key: Path | None = None
    authorities: Path | None = None
    authorities_setting: str = "TLS_CA_FILE"


class TlsFiles:
    """Keeps what the files hold. Safe to use from several threads.

    Args:
        places: the files.
        now: the time that certificates are held against.
        monotonic_s: when files are looked at.

    Raises:
        TlsFileError: at once, where a file cannot be used.
    """

    def __init__(
        self,
        places: Places,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._now = now
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._audit = Audit("common")
        self._seen = self._stamps()
        self._refused: object = None
        self._material = self._read()
        self._check_at_s = monotonic_s() + CHECK_PERIOD_S
        self._retry_at_s = float("inf")

    def current(self) -> Material:
        """What is to be used now: the newest that was good. Never fails."""
        with self._lock:
            now_s = self._monotonic_s()
            if now_s >= self._check_at_s:
                self._check_at_s = now_s + CHECK_PERIOD_S
                self._renew(now_s)
            return self._material

    def _renew(self, now_s: float) -> None:
        stamps = self._stamps()
        if stamps == self._seen and now_s < self._retry_at_s:
            return
        try:
            self._material = self._read()
        except TlsFileError as error:
            if self._stamps() != stamps:
                # Replaced while they were read: looked at again soon, and nothing is to be said of a mixture.
                return
            self._seen, self._retry_at_s = stamps, now_s + RETRY_PERIOD_S
            if self._refused != stamps:
                self._refused = stamps
                name, _, reason = str(error).partition(": ")
                self._audit.refused(name, f"{reason}; the one before stays in use")
            return
        self._seen, self._retry_at_s = stamps, float("inf")
        ends = self._material.ends
        _logger.info("TLS files replaced", extra={"ends": ends.isoformat() if ends else ""})

    def _stamps(self) -> tuple[object, ...]:
        """Tell one state of the files from another; links are followed."""
        stamps: list[object] = []
        for path in (self._places.chain, self._places.key, self._places.authorities):
            try:
                stat = path.stat() if path else None
            except OSError:
                stat = None
            stamps.append(stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(stamps)

    def _read(self) -> Material:
        places = self._places
        authorities = b""
        if places.authorities:
            authorities = _bytes(places.authorities, places.authorities_setting)
            _certificates(authorities, places.authorities_setting)
        if not places.chain or not places.key:
            return Material(authorities=authorities)
        chain, key = _bytes(places.chain, "TLS_CERT_FILE"), _bytes(places.key, "TLS_KEY_FILE")
        own = _certificates(chain, "TLS_CERT_FILE")[0]
        self._check_time(own)
        _check_key(places.key, key, own)
        return Material(chain=chain, key=key, authorities=authorities, ends=own.not_valid_after_utc)

    def _check_time(self, own: x509.Certificate) -> None:
        now = self._now()
        if now >= own.not_valid_after_utc:
            raise TlsFileError(f"TLS_CERT_FILE: the certificate ended at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
        if now < own.not_valid_before_utc:
            raise TlsFileError(
                f"TLS_CERT_FILE: the certificate begins only at {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            )


def _bytes(path: Path, setting: str) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TlsFileError(f"{setting}: {path} is larger than {_MAX_BYTES} bytes, which no such file is")
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(f"{setting}: {path} cannot be read: {error.strerror}") from None


def _certificates(pem: bytes, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TlsFileError(f"{setting}: the file holds no certificate in PEM, or a broken one") from None


def _check_key(path: Path, pem: bytes, own: x509.Certificate) -> None:
    mode = path.stat().st_mode
    if mode & _OTHERS:
        raise TlsFileError(
            f"TLS_KEY_FILE: {path} can be read by others (mode {mode & 0o777:04o}); take it from them: chmod o= "
            "(in a pod: defaultMode 0440 of the volume)"
        )
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsFileError("TLS_KEY_FILE: the file holds no unencrypted private key in PEM") from None
    if key.public_key().public_bytes(*_SPKI) != own.public_key().public_bytes(*_SPKI):
        raise TlsFileError("TLS_KEY_FILE: the key is not the key of the certificate in TLS_CERT_FILE")
