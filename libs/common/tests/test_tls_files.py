# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Certificate files: what is refused at the start and by which setting's name, and what a replacement changes."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from dragoman_common.server import ServerSettings
from dragoman_common.settings import SettingsError, parse
from dragoman_common.testing import FakeClock
from dragoman_common.testing_certificates import TestAuthority
from dragoman_common.tls import TlsSettings
from dragoman_common.tls_files import RETRY_PERIOD_S, Places, TlsFileError, TlsFiles


@pytest.fixture(scope="module")
def authority():
    return TestAuthority()


@pytest.fixture
def files(authority, tmp_path):
    return authority.files(tmp_path / "tls")


@pytest.fixture
def clock():
    return FakeClock(datetime.now(UTC))


def opened(files, clock):
    places = Places(chain=files.chain, key=files.key, authorities=files.authorities)
    return TlsFiles(places, now=clock.now, monotonic_s=clock.monotonic_s)


def refused(**paths):
    with pytest.raises(ValueError, match="TLS_") as caught:
        TlsSettings(**paths)
    return str(caught.value)


def test_key_that_others_can_read_is_refused_by_name(files):
    files.key.chmod(0o604)
    text = refused(**files.server)
    assert text.startswith("TLS_KEY_FILE: ")
    assert "mode 0604" in text


def test_key_that_the_group_can_read_is_taken_as_pods_have_it(files):
    files.key.chmod(0o440)
    assert TlsSettings(**files.server).server() is not None


def test_key_of_another_certificate_is_refused(authority, files):
    files.key.write_bytes(authority.issue().key)
    assert refused(**files.server).startswith("TLS_KEY_FILE: the key is not the key of the certificate")


def test_certificate_that_has_ended_is_refused(authority, tmp_path):
    past = datetime.now(UTC) - timedelta(minutes=1)
    files = authority.issue(ends=past).save(tmp_path / "tls", authorities=authority.pem)
    assert refused(**files.server).startswith("TLS_CERT_FILE: the certificate ended at ")


def test_certificate_that_has_not_begun_is_refused(authority, tmp_path):
    future = datetime.now(UTC) + timedelta(hours=1)
    files = authority.issue(begins=future).save(tmp_path / "tls", authorities=authority.pem)
    assert refused(**files.server).startswith("TLS_CERT_FILE: the certificate begins only at ")


@pytest.mark.parametrize("content", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
@pytest.mark.parametrize("setting", ["tls_cert_file", "tls_client_ca_file", "tls_ca_file"])
def test_file_without_a_certificate_is_refused_by_the_name_of_its_setting(files, tmp_path, setting, content):
    broken = tmp_path / "broken.pem"
    broken.write_bytes(content)
    assert refused(**(files.server | {setting: broken})).startswith(f"{setting.upper()}: ")


def test_missing_file_is_refused_with_its_path(files, tmp_path):
    text = refused(**(files.server | {"tls_ca_file": tmp_path / "none.pem"}))
    assert text == f"TLS_CA_FILE: {tmp_path}/none.pem cannot be read: No such file or directory"


def test_encrypted_or_broken_key_is_refused(files):
    files.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert refused(**files.server) == "TLS_KEY_FILE: the file holds no unencrypted private key in PEM"


def test_half_of_the_settings_is_refused(files):
    assert "TLS_KEY_FILE go together" in refused(tls_cert_file=files.chain)
    assert refused(tls_client_ca_file=files.authorities).startswith("TLS_CLIENT_CA_FILE needs TLS_CERT_FILE")
    assert refused(**files.server, tls_identities=("a=keda",)).startswith("TLS_IDENTITIES needs TLS_CLIENT_CA_FILE")


@pytest.mark.parametrize("item", ["keda", "=keda", "a=", "a=operator", "a=trainer", "a=user", "a=nobody"])
def test_dns_name_stands_only_for_who_may_call_by_certificate(files, item):
    text = refused(**files.server, tls_client_ca_file=files.authorities, tls_identities=(item,))
    assert text.startswith(f"TLS_IDENTITIES: {item!r} is not dns-name=identity")


def test_service_with_a_bad_certificate_does_not_start_and_says_which_setting(authority, files):
    files.key.write_bytes(authority.issue().key)
    environ = {
        "X_KEY_FILE": "k",
        "X_TRUST_FILE": "t",
        "X_TLS_CERT_FILE": str(files.chain),
        "X_TLS_KEY_FILE": str(files.key),
    }
    with pytest.raises(SettingsError, match=r"X_\*: TLS_KEY_FILE: the key is not the key of the certificate"):
        parse(ServerSettings, environ, prefix="X_")


def test_key_is_in_no_repr(files, clock):
    assert "PRIVATE" not in repr(opened(files, clock).current())


def test_replaced_pair_is_used_from_the_next_look_on(authority, files, clock):
    material = opened(files, clock)
    before = material.current()
    renewed = authority.issue()
    files.replace(renewed)
    assert material.current() is before, "files are looked at once a second"
    clock.advance(1)
    assert material.current().chain == renewed.chain
    assert material.current().key == renewed.key


def test_replaced_authorities_are_used_too(files, clock):
    material = opened(files, clock)
    other = TestAuthority("other")
    files.authorities.write_bytes(other.pem)
    clock.advance(1)
    assert material.current().authorities == other.pem


def test_replacement_that_is_no_pair_keeps_the_one_before_and_is_audited_once(authority, files, clock, caplog):
    material = opened(files, clock)
    before = material.current()
    files.key.write_bytes(authority.issue().key)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            clock.advance(RETRY_PERIOD_S)
            assert material.current() is before
    records = [record for record in caplog.records if record.message == "audit: object refused"]
    assert [(record.name, record.object) for record in records] == [("dragoman_common.audit", "TLS_KEY_FILE")]
    assert records[0].reason.endswith("the one before stays in use")


def test_replacement_that_is_gone_or_ended_keeps_the_one_before(authority, files, clock):
    material = opened(files, clock)
    before = material.current()
    for bad in (lambda: files.replace(authority.issue(ends=clock.now() - timedelta(minutes=1))), files.key.unlink):
        bad()
        clock.advance(1)
        assert material.current() is before


def test_replacement_that_has_not_begun_is_used_when_it_begins(authority, files, clock):
    material = opened(files, clock)
    early = authority.issue(begins=clock.now() + timedelta(seconds=20))
    files.replace(early)
    clock.advance(1)
    assert material.current().chain != early.chain
    clock.advance(RETRY_PERIOD_S)
    assert material.current().chain == early.chain


def test_pair_that_is_good_again_after_a_bad_one_is_used(authority, files, clock):
    material = opened(files, clock)
    files.key.unlink()
    clock.advance(1)
    material.current()
    renewed = authority.issue()
    files.replace(renewed)
    clock.advance(1)
    assert material.current().chain == renewed.chain


def test_directory_swapped_between_the_two_reads_is_neither_used_nor_audited(
    authority, files, clock, caplog, monkeypatch
):
    material = opened(files, clock)
    first, second = authority.issue(), authority.issue()
    files.replace(first)
    clock.advance(1)
    read = type(files.chain).read_bytes

    def read_and_swap(path):
        data = read(path)
        if path == files.chain:
            monkeypatch.undo()
            files.replace(second)
        return data

    monkeypatch.setattr(type(files.chain), "read_bytes", read_and_swap)
    before = material.current()
    assert before.chain not in (first.chain, second.chain)
    assert not caplog.records
    clock.advance(1)
    assert material.current().chain == second.chain


def test_start_needs_good_files(tmp_path):
    with pytest.raises(TlsFileError):
        TlsFiles(Places(authorities=tmp_path / "none.pem"))
