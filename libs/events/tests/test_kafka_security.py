# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A broker that lets in who has a password, over TLS: we get in with it, without it we do not, and it is never told."""

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from dragoman_common.errors import UnavailableError
from dragoman_common.settings import Secret
from dragoman_events.contracts import TOPIC, event
from dragoman_events.kafka_client import KafkaRefusesError
from dragoman_events.kafka_log import KafkaEventLog
from dragoman_events.kafka_settings import KafkaSettings
from tests.parts import certificates, kafka
from tests.parts.kafka import KafkaBroker
from tests.parts.missing import required

pytestmark = pytest.mark.slow


# Where nothing is to be waited for: a refusal is said when this time is over.
SHORT = {"kafka_request_timeout_ms": 3_000, "kafka_delivery_timeout_ms": 3_000}
PLAIN_PASSWORD = secrets.token_hex(12)


@pytest.fixture(scope="module")
def own_certificate():
    """Ours, in PEM, and the authority by which the broker knows it."""
    return certificates.for_loopback()


@pytest.fixture(scope="module")
def secured(tmp_path_factory, own_certificate) -> Iterator[KafkaBroker]:
    """Takes SCRAM and PLAIN, and looks at the certificate of a client that shows one."""
    config = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.client.plain.sasl.jaas.config": (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="{PLAIN_PASSWORD}";'
        ),
        "listener.name.client.ssl.client.auth": "requested",
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.certificates": own_certificate.authority,
    }
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("secured")
        yield required("kafka", lambda: stack.enter_context(kafka.running(folder, secured=True, config=config)))


@pytest.fixture
def settings(secured):
    return KafkaSettings(
        kafka_tls=True,
        kafka_ca_file=secured.security.ca_file,
        kafka_sasl_mechanism=secured.security.mechanism,
        kafka_username=secured.security.username,
        kafka_password=Secret(secured.security.password),
        kafka_create_topics=True,
        kafka_replication=1,
        kafka_request_timeout_ms=30_000,
        kafka_delivery_timeout_ms=30_000,
    )


def refused(secured, settings, caplog):
    """What a log with these settings says when it is opened."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KafkaRefusesError) as error:
        KafkaEventLog(secured.bootstrap, replace(settings, **SHORT))
    return error.value.message + caplog.text


def test_scram_over_tls_writes_and_reads_and_says_nothing_of_the_password(secured, settings, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "credentials"
    file.write_text(f"username={secured.security.username}\npassword={secured.security.password}\n")
    from_file = replace(settings, kafka_username=None, kafka_password=None, kafka_credentials_file=file)
    for chosen in (settings, from_file):
        log = KafkaEventLog(secured.bootstrap, chosen)
        (offset,) = log.append(TOPIC, b"k", [event(1)])
        assert event(1) == log.read(TOPIC, offset, 1)[0].event()
        consumer = log.consumer(TOPIC, secrets.token_hex(4))
        assert event(1) == consumer.poll(1, 30)[0].event()
        consumer.close()
        log.close()
    assert secured.security.password not in caplog.text + repr(settings) + repr(log.__dict__["_settings"])


def test_plain_goes_over_tls(secured, settings):
    plain = {"kafka_sasl_mechanism": "PLAIN", "kafka_username": "plain", "kafka_password": Secret(PLAIN_PASSWORD)}
    log = KafkaEventLog(secured.bootstrap, replace(settings, **plain))
    assert log.append(TOPIC, b"k", [event(1)])
    log.close()


def test_our_certificate_is_shown_and_one_of_another_authority_does_not_get_in(
    secured, settings, own_certificate, tmp_path
):
    files = {"kafka_certificate_file": tmp_path / "client.pem", "kafka_key_file": tmp_path / "key.pem"}

    def opened(certificate, **limits):
        files["kafka_certificate_file"].write_text(certificate.chain)
        files["kafka_key_file"].write_text(certificate.key)
        return KafkaEventLog(secured.bootstrap, replace(settings, **files, **limits))

    log = opened(own_certificate)
    assert log.append(TOPIC, b"k", [event(1)])
    log.close()
    # In TLS 1.3 the broker's no comes after the handshake, as a connection that ends: not to be told from an outage.
    stranger = opened(certificates.for_loopback(), **SHORT)
    with pytest.raises(UnavailableError):
        stranger.append(TOPIC, b"k", [event(1)])
    stranger.close()


def test_a_wrong_password_is_refused_and_not_repeated(secured, settings, caplog):
    wrong = secrets.token_hex(12)
    said = refused(secured, replace(settings, kafka_password=Secret(wrong)), caplog)
    assert wrong not in said
    assert re.search("authentication failed", said, re.IGNORECASE)


def test_a_broker_of_another_authority_gets_no_password(secured, settings, caplog, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text(certificates.for_loopback().authority)
    said = refused(secured, replace(settings, kafka_ca_file=other), caplog)
    assert "certificate verify failed" in said


def test_a_broker_that_asks_for_tls_refuses_plain_text(secured):
    log = KafkaEventLog(secured.bootstrap, KafkaSettings(kafka_request_timeout_ms=500))
    with pytest.raises(UnavailableError):
        log.append(TOPIC, b"k", [event(1)])
    log.close()


def test_a_consumer_with_a_wrong_password_says_so_instead_of_reading_nothing_for_ever(secured, settings):
    good = KafkaEventLog(secured.bootstrap, settings)
    bad = KafkaEventLog(secured.bootstrap, settings)
    bad._config["sasl.password"] = "wrong"
    consumer = bad.consumer(TOPIC, "g")
    with pytest.raises(UnavailableError, match=r"(?i)authentication"):
        for _ in range(20):
            consumer.poll(1, 0.5)
    consumer.close()
    bad.close()
    good.close()
