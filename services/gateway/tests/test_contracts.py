# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The ports' contracts, on the fakes and on the real adapters over gRPC and SQLite."""

import asyncio
import dataclasses
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_events.memory import MemoryEventLog
from dragoman_events.message_event import message_of
from dragoman_gateway.clients import TokenizerClient, WorkerClient
from dragoman_gateway.contracts import CatalogueContract, JournalContract, ScorerContract, TokenizerContract
from dragoman_gateway.durability import Durabilities
from dragoman_gateway.journal import EventJournal
from dragoman_gateway.memory import MemoryCatalogue, MemoryJournal, MemoryScorer, MemoryTokenizer
from dragoman_gateway.outbox import Outbox
from dragoman_gateway.record import FeedbackRecord, PredictionRecord
from dragoman_gateway.registry_client import RegistryCatalogue, RegistryHistory, target_of
from dragoman_gateway.spool_alarm import SpoolAlarm
from dragoman_gateway.version import ServedVersion, VersionKey
from dragoman_gateway.withdrawals import Withdrawals
from dragoman_models.verify import VerifyingKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def to(platform):
    """Channels from the gateway to a service of the platform."""
    channels = []

    def make(name, target=None):
        tokens = platform.keys.tokens("gateway")
        channels.append(connect(target or platform.targets[name], audience=name, tokens=tokens))
        return channels[-1]

    return make


class TestMemoryCatalogue(CatalogueContract):
    @pytest.fixture
    def known(self, make):
        return make.served(make.key())

    @pytest.fixture
    def catalogue(self, known):
        return MemoryCatalogue([known])

    @pytest.fixture
    def withdraw(self, catalogue, known):
        return lambda: catalogue.withdraw(known.key)


class TestRegistryCatalogue(CatalogueContract):
    @pytest.fixture
    async def catalogue(self, platform, to):
        channel = to("registry")
        made = RegistryCatalogue(channel, VerifyingKeys([platform.registry.key.public_key]), Withdrawals())
        yield made
        await made.close()
        await channel.close()

    @pytest.fixture
    def withdraw(self, platform, fake_platform):
        return lambda: platform.registry.withdraw(fake_platform.manifest_of(1))

    @pytest.fixture
    def known(self, fake_platform):
        manifest = fake_platform.manifest_of(1)
        return ServedVersion(
            key=VersionKey(tenant="local", model="r8", number=1, root_sha256=manifest.root_sha256),
            task=manifest.task,
            architecture=manifest.architecture,
            labels=manifest.labels,
            max_text_bytes=1_000,
            max_tokens=128,
        )

    async def test_a_version_seen_before_outlives_the_registry(self, catalogue, known, platform):
        await catalogue.get("local", "r8", 1)
        platform.registry.versions.clear()
        assert await catalogue.get("local", "r8", 1) == known


class TestRegistryHistory:
    @pytest.fixture
    async def history(self, platform, to):
        channel = to("registry")
        yield RegistryHistory(channel, VerifyingKeys([platform.registry.key.public_key]))
        await channel.close()

    def chain(self, platform):
        return [target_of(record) for record, _ in platform.registry.history["local", "r8", "prod"]]

    async def test_the_events_before_come_newest_first_from_as_many_pages_as_there_are(self, history, platform):
        for number in range(2, 8):
            platform.publish(number)
        chain = self.chain(platform)
        assert await history.earlier(chain[0], 8) == []
        assert await history.earlier(chain[-1], 8) == chain[-2::-1]
        assert await history.earlier(chain[4], 3) == [chain[3], chain[2], chain[1]]

    async def test_events_that_share_a_time_are_told_apart(self, history, platform):
        platform.registry.step_s = 0
        platform.publish(2)
        platform.publish(3)
        first, second, third = self.chain(platform)
        assert first.move_time == second.move_time == third.move_time
        assert await history.earlier(third, 8) == [second, first]

    async def test_another_event_in_its_place_is_data_loss(self, history, platform):
        platform.publish(2)
        platform.publish(3)
        _, second, third = self.chain(platform)
        entries = platform.registry.history["local", "r8", "prod"]
        entries[1] = entries[0]
        with pytest.raises(DataLossError):
            await history.earlier(third, 8)
        with pytest.raises(DataLossError):
            await history.earlier(dataclasses.replace(second, previous_sha256="0" * 64), 8)
        entries.clear()
        with pytest.raises(DataLossError, match="no event 2"):
            await history.earlier(third, 8)


class TestMemoryTokenizer(TokenizerContract):
    @pytest.fixture
    def tokenizer(self):
        return MemoryTokenizer()

    @pytest.fixture
    def key(self, make):
        return make.key()


class TestTokenizerClient(TokenizerContract):
    @pytest.fixture
    async def tokenizer(self, to):
        channel = to("tokenizer")
        with calling_as("local"):
            yield TokenizerClient(channel, timeout_s=5)
        await channel.close()

    @pytest.fixture
    def key(self, make):
        return make.key()


async def test_a_refusal_of_the_gateways_own_identity_is_not_the_users_fault(platform, make):
    tokens = platform.keys.tokens("monitor")
    async with connect(platform.targets["tokenizer"], audience="tokenizer", tokens=tokens) as channel:
        with pytest.raises(UnavailableError, match="operator"):
            await TokenizerClient(channel, timeout_s=5).encode(make.key(), ["oil"])


class TestMemoryScorer(ScorerContract):
    @pytest.fixture
    def scorer(self, fake_platform):
        return MemoryScorer(3, {"gone": [fake_platform.unavailable()]})

    @pytest.fixture
    def address(self):
        return "here"

    @pytest.fixture
    def gone(self):
        return "gone"

    @pytest.fixture
    def key(self, make):
        return make.key()


class TestWorkerClient(ScorerContract):
    @pytest.fixture
    async def scorer(self, to, address, gone):
        channels = {address: to("worker"), gone: to("worker", gone)}
        made = WorkerClient(timeout_s=5)
        for place, channel in channels.items():
            made.add(place, channel)
        yield made
        for channel in channels.values():
            await channel.close()

    @pytest.fixture
    def address(self, platform):
        return platform.targets["worker"]

    @pytest.fixture
    def gone(self, unused_tcp_port):
        return f"127.0.0.1:{unused_tcp_port}"

    @pytest.fixture
    def key(self, fake_platform):
        with calling_as("local"):
            yield VersionKey(tenant="local", model="r8", number=1, root_sha256=fake_platform.manifest_of(1).root_sha256)


def prediction(row):
    return PredictionRecord(
        tenant="local",
        subject="ann",
        request_id="ab" * 16,
        row=row,
        model="r8",
        version=1,
        root_sha256="c" * 64,
        arm="stable",
        code="OK",
        label="grain",
        score=0.5,
        num_tokens=3,
        accept_time=NOW,
        latency_ms=1.5,
    )


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def records(self):
        return [prediction(0), prediction(1)]

    @pytest.fixture
    def journal(self):
        return MemoryJournal()

    @pytest.fixture
    def read(self, journal):
        return lambda: [("dragoman.predictions", record.request_id, record.row) for record in journal.records]


class TestEventJournal(JournalContract):
    @pytest.fixture
    def log(self):
        return MemoryEventLog()

    @pytest.fixture
    def records(self):
        return [prediction(0), prediction(1)]

    @pytest.fixture
    async def journal(self, log):
        outbox = Outbox(
            log,
            None,
            SpoolAlarm(1),
            max_pending_events=100,
            max_spooled_events=1,
            ack_timeout_s=1.0,
            remaining_s=lambda: None,
            on_dropped=lambda _: None,
        )
        running = asyncio.ensure_future(outbox.run())
        yield EventJournal(outbox, Durabilities("acked"))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    @pytest.fixture
    def read(self, log):
        from dragoman.events.v1 import events_pb2

        def messages():
            found = [
                message_of(record.event(), events_pb2.Prediction) for record in log.read("dragoman.predictions", 0, 9)
            ]
            return [("dragoman.predictions", message.request_id, message.row) for message in found]

        return messages

    async def test_the_envelope_says_what_the_message_says(self, journal, log):
        await journal.record([prediction(7)])
        (record,) = log.read("dragoman.predictions", 0, 10)
        event = record.event()
        assert (event.id, event.source, event.subject, event.time) == (
            f"{'ab' * 16}/7",
            "dragoman/gateway",
            "r8/1",
            NOW,
        )
        assert event.type == "dragoman.events.v1.Prediction"
        assert {
            "requestid": "ab" * 16,
            "tenant": "local",
            "modelid": "r8",
            "modelversion": "1",
            "arm": "stable",
        }.items() <= event.extensions.items()
        assert record.key == b"local/" + b"ab" * 16

    async def test_feedback_of_one_call_shares_its_predictions_key(self, journal, log):
        feedback = FeedbackRecord(
            tenant="local", subject="ann", request_id="ab" * 16, row=0, true_label="grain", receive_time=NOW
        )
        await journal.record([feedback])
        await journal.record([prediction(0)])
        assert log.read("dragoman.feedback", 0, 1)[0].key == log.read("dragoman.predictions", 0, 1)[0].key
