# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What Kafka settings are refused before anything is sent, and that secrets stay where they are."""

import sys
from pathlib import Path

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import Secret, SettingsError, parse
from dragoman_events.kafka_client import client_config
from dragoman_events.kafka_settings import KafkaSettings, brokers_of, credentials_of
from dragoman_events.opening import open_log

SECRET = "correct horse battery staple"
SASL = {"kafka_sasl_mechanism": "SCRAM-SHA-512", "kafka_username": "u", "kafka_password": Secret(SECRET)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (SASL, "needs kafka_tls=true"),
        (SASL | {"kafka_sasl_mechanism": "PLAIN"}, "needs kafka_tls=true"),
        (SASL | {"kafka_tls": True, "kafka_sasl_mechanism": "GSSAPI"}, "must be one of"),
        ({"kafka_username": "u", "kafka_password": Secret(SECRET)}, "need kafka_sasl_mechanism"),
        ({"kafka_credentials_file": Path("f")}, "need kafka_sasl_mechanism"),
        (SASL | {"kafka_tls": True, "kafka_credentials_file": Path("f")}, "not both"),
        ({"kafka_tls": True, "kafka_sasl_mechanism": "PLAIN"}, "needs kafka_username and kafka_password"),
        ({"kafka_tls": True, "kafka_certificate_file": Path("c")}, "go together"),
        ({"kafka_tls": True, "kafka_key_password": Secret(SECRET)}, "goes with kafka_key_file"),
        ({"kafka_ca_file": Path("c")}, "need kafka_tls=true"),
        ({"kafka_certificate_file": Path("c"), "kafka_key_file": Path("k")}, "need kafka_tls=true"),
        ({"kafka_replication": 0}, "kafka_replication"),
        ({"kafka_prefix": "a/b"}, "kafka_prefix"),
        ({"kafka_delivery_timeout_ms": 1}, "kafka_delivery_timeout_ms"),
        ({"kafka_request_timeout_ms": 1}, "kafka_request_timeout_ms"),
        ({"kafka_buffer_bytes": 1}, "kafka_buffer_bytes"),
        ({"kafka_session_timeout_ms": 1}, "kafka_session_timeout_ms"),
    ],
)
def test_settings_that_could_only_fail_later_are_refused_by_name_and_without_a_secret(changes, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        KafkaSettings(**changes)
    assert SECRET not in str(refused.value)


def test_the_environment_sets_them_and_a_problem_shows_no_secret():
    environ = {"P_KAFKA_TLS": "true", "P_KAFKA_SASL_MECHANISM": "PLAIN", "P_KAFKA_USERNAME": "u"}
    settings = parse(KafkaSettings, environ | {"P_KAFKA_PASSWORD": SECRET}, prefix="P_")
    assert settings.kafka_password.reveal() == SECRET
    assert SECRET not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        parse(KafkaSettings, environ | {"P_KAFKA_PASSWORD": SECRET, "P_KAFKA_TLS": "no"}, prefix="P_")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://host",
        "kafka://host:0",
        "kafka://host:99999",
        "kafka://host:1,",
        "kafka://host:1/topic",
        "kafka://host:1?acks=1",
        f"kafka://u:{SECRET.replace(' ', '-')}@host:1",
        "kafka://:9092",
    ],
)
def test_a_url_that_is_not_a_list_of_brokers_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidArgumentError, match="kafka://host:port") as refused:
        brokers_of(url)
    assert "horse" not in refused.value.message


def test_brokers_are_taken_as_they_stand():
    assert brokers_of("kafka://a:9092,b.example:9093,[::1]:9094") == "a:9092,b.example:9093,[::1]:9094"


def test_credentials_come_from_a_file_too(tmp_path):
    file = tmp_path / "credentials"
    file.write_text(f"username=u\n\npassword= {SECRET}=x \n")
    settings = KafkaSettings(kafka_tls=True, kafka_sasl_mechanism="SCRAM-SHA-256", kafka_credentials_file=file)
    found = credentials_of(settings)
    assert (found.username, found.password.reveal()) == ("u", SECRET + "=x")
    assert SECRET not in repr(found)


@pytest.mark.parametrize("text", [None, "username=u", f"password={SECRET}", f"{SECRET}", "\xff"])
def test_a_credentials_file_that_cannot_be_used_is_named_and_not_quoted(tmp_path, text):
    file = tmp_path / "credentials"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    settings = KafkaSettings(kafka_tls=True, kafka_sasl_mechanism="PLAIN", kafka_credentials_file=file)
    with pytest.raises(InvalidArgumentError, match="kafka_credentials_file credentials") as refused:
        credentials_of(settings)
    assert SECRET not in refused.value.message


def test_certificates_are_always_checked():
    config = client_config("h:1", KafkaSettings(kafka_tls=True))
    assert config["security.protocol"] == "ssl"
    assert config["enable.ssl.certificate.verification"] is True
    assert config["ssl.endpoint.identification.algorithm"] == "https"
    assert client_config("h:1", KafkaSettings(**SASL, kafka_tls=True))["security.protocol"] == "sasl_ssl"
    assert client_config("h:1", KafkaSettings())["security.protocol"] == "plaintext"


def test_files_that_the_client_cannot_use_are_refused_at_start(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"ssl\.ca\.location"):
        open_log("kafka://127.0.0.1:1", KafkaSettings(kafka_tls=True, kafka_ca_file=tmp_path / "none.pem"))


def test_without_the_client_a_kafka_url_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dragoman_events.kafka_log", None)
    with pytest.raises(InvalidArgumentError, match="extra kafka"):
        open_log("kafka://127.0.0.1:9092")
