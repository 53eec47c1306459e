# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The certificate that a service shows: is it trusted, does it hold the service's name, when does it end.

It is taken from a handshake of our own, in which nothing is verified, so that also a bad one can be described.
"""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection

from cryptography import x509

from dragoman_client.doctor.finding import Finding, Findings

TIMEOUT_S = 5.0
MIN_LEFT = timedelta(days=14)
_RENEW = "renew it: cert-manager does by itself (`kubectl get certificates`); the service takes it without a restart"


def check_certificate(name: str, target: str, ca_file: Path | None) -> Finding | None:
    """Judge what the server at host:port shows; None where it is plaintext on both sides, or cannot be reached.

    Blocks for a few seconds at most.
    """
    here = Findings(name)
    try:
        shown = _shown(target)
    except ssl.SSLError:
        if ca_file is None:
            return None
        return here.fail("certificate", f"{target} speaks plaintext, and --ca asks for TLS", "check the address")
    except OSError:
        # The line of its health says so.
        return None
    if ca_file is None:
        return here.fail(
            "certificate", f"{target} speaks TLS, and was asked in plaintext", "name whom to trust: dragoman --ca FILE"
        )
    ends = shown.not_valid_after_utc
    left = ends - datetime.now(UTC)
    said = f"ends on {ends:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta():
        return here.fail("certificate", said.replace("ends", "ended"), _RENEW)
    if reason := _distrust(target, ca_file):
        return here.fail("certificate", reason, "give the service a certificate of that authority, for that name")
    if left < MIN_LEFT:
        return here.warn("certificate", f"{said}, in {left.days} days", _RENEW)
    return here.ok("certificate", said)


def _shown(target: str) -> x509.Certificate:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = target.rpartition(":")
    with (
        create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host.strip("[]")) as wrapped,
    ):
        return x509.load_der_x509_certificate(wrapped.getpeercert(binary_form=True) or b"")


def _distrust(target: str, ca_file: Path) -> str:
    """Why a client that trusts `ca_file` would not go on; empty where it would."""
    context = ssl.create_default_context(cafile=str(ca_file))
    host, _, port = target.rpartition(":")
    try:
        with (
            create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return f"is not believed: {error.verify_message.rstrip('.')}"
    except OSError as error:
        return f"the handshake fails ({type(error).__name__})"
