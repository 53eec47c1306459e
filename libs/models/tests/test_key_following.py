# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's key list is followed forwards only, also across restarts, and an absent answer changes nothing."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from dragoman_common.audit import Audit
from dragoman_common.errors import InvalidArgumentError, NotFoundError, UnavailableError, UnimplementedError
from dragoman_models.key_following import MIN_PAUSE_S, KeyFollower, check_period, load_keys
from dragoman_models.key_list import KeyList
from dragoman_models.signing import SigningKey, public_pem
from dragoman_models.testing import foreign_list, listed, signed_chain
from dragoman_models.verify import VerifyingKeys

OLD, NEW, STRANGER = (SigningKey.generate() for _ in range(3))
TIME = datetime(2026, 5, 1, tzinfo=UTC)
PERIOD_S = 60.0


FIRST = KeyList(sequence=1, keys=(listed(OLD),), issue_time=TIME)
SECOND = KeyList(sequence=2, keys=(listed(OLD), listed(NEW)), issue_time=TIME, previous_sha256=FIRST.sha256)
FORGED = KeyList(sequence=2, keys=(listed(OLD), listed(STRANGER)), issue_time=TIME, previous_sha256=FIRST.sha256)
ONE, TWO = signed_chain((FIRST, OLD)), signed_chain((FIRST, OLD), (SECOND, OLD))
NOT_BELIEVED = {
    "forged": signed_chain((FIRST, OLD), (FORGED, STRANGER)),
    "fork": signed_chain((FIRST, OLD), (FORGED, OLD)),
    "older": ONE,
    "foreign": foreign_list(STRANGER),
    "garbage": b"{",
    "nothing": b"",
}


class Registry:
    """Answers with what it holds, and counts."""

    def __init__(self) -> None:
        self.answer: bytes | Exception = ONE
        self.asked_s: list[float] = []
        self.num_newer = 0

    async def fetch(self) -> bytes:
        self.asked_s.append(asyncio.get_running_loop().time())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def count(self) -> None:
        self.num_newer += 1

    def follower(self, keys: VerifyingKeys, kept=None) -> KeyFollower:
        return KeyFollower(keys, self.fetch, audit=Audit("test"), on_newer=self.count, period_s=PERIOD_S, kept=kept)


def audited(caplog) -> list[tuple[str, str]]:
    return [(record.message, record.object) for record in caplog.records if record.name == "dragoman_test.audit"]


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def keys() -> VerifyingKeys:
    return VerifyingKeys([OLD.public_key])


async def test_a_newer_list_counts_is_told_once_and_is_kept(registry, keys, tmp_path, caplog):
    follower = registry.follower(keys, tmp_path / "kept.json")
    assert [await follower.ask() for _ in range(2)] == [True, False]
    registry.answer = TWO
    assert [await follower.ask() for _ in range(2)] == [True, False]
    assert (keys.sequence, registry.num_newer, (tmp_path / "kept.json").read_bytes()) == (2, 2, TWO)
    assert keys.counting_ids == (OLD.key_id, NEW.key_id)
    assert audited(caplog) == []


@pytest.mark.parametrize("what", NOT_BELIEVED)
async def test_a_list_that_is_not_newer_is_refused_and_audited_once(registry, keys, tmp_path, caplog, what):
    kept = tmp_path / "kept.json"
    follower = registry.follower(keys, kept)
    registry.answer = TWO
    await follower.ask()
    registry.answer = NOT_BELIEVED[what]
    assert [await follower.ask() for _ in range(3)] == [False, False, False]
    assert audited(caplog) == [("audit: object refused", "key list of the registry")]
    assert (keys.sequence, registry.num_newer, kept.read_bytes()) == (2, 1, TWO)


@pytest.mark.parametrize("what", ["forged", "fork", "older"])
async def test_a_restart_forgets_nothing_of_what_was_followed(registry, tmp_path, caplog, what):
    kept, configured = tmp_path / "kept.json", tmp_path / "signing.pub"
    configured.write_bytes(public_pem(OLD.public_key))
    registry.answer = TWO
    await registry.follower(load_keys(configured, kept, Audit("test")), kept).ask()
    again = load_keys(configured, kept, Audit("test"))
    assert again.sequence == 2
    registry.answer = NOT_BELIEVED[what]
    assert not await registry.follower(again, kept).ask()
    assert again.sequence == 2
    assert len(audited(caplog)) == 1


@pytest.mark.parametrize("what", ["foreign", "garbage", "nothing", "folder"])
def test_a_kept_list_that_does_not_hold_changes_nothing_and_is_audited(tmp_path, caplog, what):
    kept, configured = tmp_path / "kept.json", tmp_path / "signing.pub"
    configured.write_bytes(public_pem(OLD.public_key))
    if what == "folder":
        kept.mkdir()
    else:
        kept.write_bytes(NOT_BELIEVED[what])
    keys = load_keys(configured, kept, Audit("test"))
    assert keys.counting_ids == (OLD.key_id,)
    assert audited(caplog) == [("audit: object refused", "kept key list kept.json")]


def test_a_configured_list_that_is_newer_than_the_kept_one_counts_quietly(tmp_path, caplog):
    kept, configured = tmp_path / "kept.json", tmp_path / "keys.json"
    configured.write_bytes(TWO)
    kept.write_bytes(ONE)
    assert load_keys(configured, kept, Audit("test")).sequence == 2
    assert load_keys(configured, tmp_path / "absent", Audit("test")).sequence == 2
    assert load_keys(configured, None, Audit("test")).sequence == 2
    assert audited(caplog) == []
    with pytest.raises(InvalidArgumentError):
        load_keys(tmp_path / "absent", kept, Audit("test"))


@pytest.mark.parametrize("error", [NotFoundError, UnimplementedError, UnavailableError])
async def test_a_registry_without_an_answer_changes_nothing(registry, keys, tmp_path, caplog, error):
    follower = registry.follower(keys, tmp_path / "kept.json")
    registry.answer = TWO
    await follower.ask()
    registry.answer = error("no")
    assert [await follower.ask() for _ in range(2)] == [False, False]
    assert keys.sequence == 2
    assert audited(caplog) == []


async def test_a_list_that_cannot_be_kept_counts(registry, keys, tmp_path, caplog):
    assert await registry.follower(keys, tmp_path / "absent" / "kept.json").ask()
    assert keys.sequence == 1
    assert "the key list was not kept" in caplog.text


@asynccontextmanager
async def following(follower):
    task = asyncio.ensure_future(follower.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.looptime
async def test_the_period_is_kept_with_jitter_and_unknown_signatures_shorten_it_within_bounds(registry, keys):
    random.seed(7)
    registry.answer = UnavailableError("away")
    async with following(registry.follower(keys)):
        await asyncio.sleep(600)
        pauses = {after - before for before, after in zip(registry.asked_s, registry.asked_s[1:], strict=False)}
        assert len(pauses) > 5
        assert all(0.75 * PERIOD_S <= pause <= 1.25 * PERIOD_S for pause in pauses)
        asked, now_s = len(registry.asked_s), asyncio.get_running_loop().time()
        for _ in range(300):
            assert keys.signer("t", b"payload", STRANGER.sign("t", b"payload")) is None
            await asyncio.sleep(0.1)
        hasty_s = registry.asked_s[asked:]
        assert hasty_s[0] - now_s <= MIN_PAUSE_S
        assert 5 <= len(hasty_s) <= 30 / MIN_PAUSE_S + 1
    assert keys.on_unknown_signer is None


@pytest.mark.parametrize("period_s", [0, 4.9, 3601, float("nan")])
def test_a_period_out_of_bounds_is_refused_by_name(period_s):
    with pytest.raises(ValueError, match="KEY_LIST_PERIOD_S"):
        check_period(period_s, name="KEY_LIST_PERIOD_S")
    check_period(60, name="KEY_LIST_PERIOD_S")
