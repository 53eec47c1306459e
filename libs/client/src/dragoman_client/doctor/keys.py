# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The keys of a home: there, whole, their owner's alone, and trusted. And how long the certificates still hold."""

import stat
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings
from dragoman_client.local import keys
from dragoman_common.service_keys import ServiceKey, TrustStore

_EXPIRES_SOON = timedelta(days=30)
_AGAIN = "`dragoman down`, then `dragoman up`"


async def check_keys(deployment: Deployment) -> AsyncIterator[Finding]:
    """Look at the key files; nothing is asked over the network."""
    here, home = Findings("keys"), deployment.home
    if not home.keys.is_dir():
        yield here.skipped("files", f"{home.root} has no keys; `dragoman up` makes them")
        return
    trouble = [*_open_files(here, deployment), *_broken_keys(here, deployment)]
    for finding in trouble:
        yield finding
    if not trouble:
        count = len(list(home.keys.glob("*.pem")))
        yield here.ok("files", f"{count} key files, whole, and their owner's alone")
    for finding in _certificates(deployment):
        yield finding


def _open_files(here: Findings, deployment: Deployment) -> Iterator[Finding]:
    private = [path for path in sorted(deployment.home.keys.glob("*.pem")) if not path.name.endswith(".pub.pem")]
    secrets = deployment.parts.secret_files if deployment.parts else ()
    for path in (*private, *secrets):
        if not path.exists():
            yield here.fail("files", f"{path} does not exist", "put it back, or correct the setting that names it")
        elif mode := stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield here.fail(
                "permissions",
                f"{path} is open to other users (mode {mode | stat.S_IMODE(path.stat().st_mode) & 0o700:04o})",
                f"chmod 600 {path}; who could read it can act with it, so replace it if this machine has other users",
            )


def _broken_keys(here: Findings, deployment: Deployment) -> Iterator[Finding]:
    home = deployment.home
    path = keys.trust_file(home)
    try:
        trust = TrustStore.load(path)
    except FileNotFoundError:
        yield here.fail("trust", f"{path} does not exist: no service would believe another", f"{_AGAIN} writes it")
        return
    except (ValueError, AttributeError, TypeError):
        yield here.fail("trust", f"{path} is no trust file: services would not start", f"{_AGAIN} writes it anew")
        return
    for identity in keys.IDENTITIES:
        file = keys.key_file(home, identity)
        try:
            public = ServiceKey.load(file).public
        except FileNotFoundError:
            yield here.fail("files", f"{file} does not exist", f"{_AGAIN} makes a new one and trusts it")
            continue
        except (ValueError, TypeError, OSError) as error:
            yield here.fail("files", f"{file} is no usable key ({type(error).__name__})", f"remove it; {_AGAIN}")
            continue
        if not _same(trust.key_of(identity), public):
            yield here.fail(
                "trust", f"{path} holds another key for {identity} than {file}: its calls are refused", _AGAIN
            )


def _same(one: Ed25519PublicKey | None, other: Ed25519PublicKey) -> bool:
    return one is not None and one.public_bytes_raw() == other.public_bytes_raw()


def _certificates(deployment: Deployment) -> Iterator[Finding]:
    here, parts = Findings("keys"), deployment.parts
    files = (parts.kafka.kafka_ca_file, parts.kafka.kafka_certificate_file, parts.s3_ca_file) if parts else ()
    for path in files:
        if path is not None:
            yield _certificate(here, path)


def _certificate(here: Findings, path: Path) -> Finding:
    advice = f"put a valid certificate into {path}, and restart the services that read it"
    try:
        ends = min(found.not_valid_after_utc for found in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        return here.fail("certificate", f"{path} holds no certificate ({type(error).__name__})", advice)
    left = ends - datetime.now(UTC)
    if left < timedelta(0):
        return here.fail("certificate", f"{path} expired on {ends:%Y-%m-%d}", advice)
    if left < _EXPIRES_SOON:
        return here.warn("certificate", f"{path} expires on {ends:%Y-%m-%d}", advice)
    return here.ok("certificate", f"{path.name} holds until {ends:%Y-%m-%d}")
