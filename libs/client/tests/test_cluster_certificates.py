# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Certificates of an installation: services take them as they are, and they are made again only when they must."""

from datetime import timedelta

import pytest
from cryptography import x509

from dragoman_client.cluster.certificates import ensure_certificates, tell_authority
from dragoman_client.cluster.memory import MemoryObjects
from dragoman_common.clock import SystemClock
from dragoman_common.errors import DataLossError
from dragoman_common.testing import FakeClock
from dragoman_common.tls import TlsSettings

WANTED = {"registry": ["d-registry.models.svc", "localhost"], "keda": []}


def certificate(objects, service):
    return x509.load_pem_x509_certificate(objects.held["Secret", f"d-tls-{service}"]["tls.crt"])


def names(objects, service, kind):
    held = certificate(objects, service).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return held.get_values_for_type(kind)


def test_each_service_has_its_names_and_its_identity_by_the_one_authority():
    objects = MemoryObjects()
    assert set(ensure_certificates(objects, "d", WANTED, SystemClock())) == {"d-ca", "d-tls-registry", "d-tls-keda"}
    assert names(objects, "registry", x509.DNSName) == WANTED["registry"]
    assert names(objects, "keda", x509.DNSName) == []
    assert names(objects, "keda", x509.UniformResourceIdentifier) == ["dragoman:identity/keda"]
    authority = x509.load_pem_x509_certificate(objects.held["Secret", "d-ca"]["tls.crt"])
    for service in WANTED:
        certificate(objects, service).verify_directly_issued_by(authority)
        assert objects.held["Secret", f"d-tls-{service}"]["ca.crt"] == objects.held["Secret", "d-ca"]["tls.crt"]
    assert objects.final == {("Secret", "d-ca")}


def test_a_service_starts_with_them(tmp_path):
    objects = MemoryObjects()
    ensure_certificates(objects, "d", WANTED, SystemClock())
    places = {}
    for name, content in objects.held["Secret", "d-tls-registry"].items():
        places[name] = tmp_path / name
        places[name].touch(mode=0o600)
        places[name].write_bytes(content)
    settings = TlsSettings(
        tls_cert_file=places["tls.crt"],
        tls_key_file=places["tls.key"],
        tls_ca_file=places["ca.crt"],
        tls_client_ca_file=places["ca.crt"],
    )
    assert settings.server() is not None


def test_they_are_made_again_for_a_new_name_or_near_their_end_and_else_never():
    clock = FakeClock()
    objects = MemoryObjects()
    ensure_certificates(objects, "d", WANTED, clock)
    assert ensure_certificates(objects, "d", WANTED, clock) == []
    fewer = {**WANTED, "registry": WANTED["registry"][:1]}
    assert ensure_certificates(objects, "d", fewer, clock) == []
    more = {**WANTED, "registry": [*WANTED["registry"], "models.example.com"]}
    assert ensure_certificates(objects, "d", more, clock) == ["d-tls-registry"]
    assert names(objects, "registry", x509.DNSName) == more["registry"]
    clock.advance(timedelta(days=5 * 365 - 61).total_seconds())
    assert ensure_certificates(objects, "d", more, clock) == []
    clock.advance(timedelta(days=2).total_seconds())
    assert ensure_certificates(objects, "d", more, clock) == ["d-tls-registry", "d-tls-keda"]


def test_one_of_another_authority_is_replaced():
    objects, other = MemoryObjects(), MemoryObjects()
    ensure_certificates(objects, "d", WANTED, SystemClock())
    ensure_certificates(other, "d", WANTED, SystemClock())
    objects.held["Secret", "d-tls-keda"] = other.held["Secret", "d-tls-keda"]
    assert ensure_certificates(objects, "d", WANTED, SystemClock()) == ["d-tls-keda"]


def test_the_authority_is_told_elsewhere_without_its_key():
    objects, there = MemoryObjects(), MemoryObjects()
    ensure_certificates(objects, "d", WANTED, SystemClock())
    assert tell_authority(objects, there, "d") == ["d-ca"]
    assert tell_authority(objects, there, "d") == []
    assert there.held == {("ConfigMap", "d-ca"): {"ca.crt": objects.held["Secret", "d-ca"]["tls.crt"]}}
    there.held["ConfigMap", "d-ca"] = {"ca.crt": b"of the installation before"}
    assert tell_authority(objects, there, "d") == ["d-ca"]


@pytest.mark.parametrize("files", [{}, {"tls.crt": b"x", "tls.key": b"y"}])
def test_an_authority_that_is_none_is_refused_by_name(files):
    objects = MemoryObjects()
    objects.held["Secret", "d-ca"] = files
    with pytest.raises(DataLossError, match="d-ca"):
        ensure_certificates(objects, "d", WANTED, SystemClock())
