# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keys come, go and are never forgotten; a record counts only if its key did at its time."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.key_list import KeyList, ListedKey
from dragoman_models.record import AliasRecord
from dragoman_models.signing import SigningKey, public_pem, sign_alias_record
from dragoman_models.testing import listed, signed_chain
from dragoman_models.verify import RevokedKeyError, VerifyingKeys, verify_alias_event
from dragoman_models.verifying_keys import read_key_chain

OLD, NEW, STRANGER = (SigningKey.generate() for _ in range(3))
TIME = datetime(2026, 5, 1, tzinfo=UTC)


FIRST = KeyList(sequence=1, keys=(listed(OLD),), issue_time=TIME)
SECOND = KeyList(sequence=2, keys=(listed(OLD), listed(NEW)), issue_time=TIME, previous_sha256=FIRST.sha256)
REVOKED = listed(OLD, revoked_time=TIME, reason="laptop stolen")
THIRD = KeyList(sequence=3, keys=(REVOKED, listed(NEW)), issue_time=TIME, previous_sha256=SECOND.sha256)


WHOLE = ((FIRST, OLD), (SECOND, OLD), (THIRD, NEW))


def event(key: SigningKey, time: datetime) -> bytes:
    record = AliasRecord(
        tenant="acme",
        model="r8",
        alias="prod",
        sequence=1,
        stable_version=1,
        stable_root_sha256="0" * 64,
        moved_by="operator:ada",
        move_time=time,
        request_id="q",
        nonce="n",
    )
    return sign_alias_record(record, key)


def verify(envelope: bytes, keys: VerifyingKeys) -> AliasRecord:
    return verify_alias_event(envelope, keys, tenant="acme", model="r8", alias="prod")


def test_a_new_key_counts_and_the_old_one_still_does(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(signed_chain(*WHOLE[:2]))
    keys = VerifyingKeys.load(tmp_path / "keys.json")
    for key in (OLD, NEW):
        assert verify(event(key, TIME), keys).alias == "prod"
    assert set(keys.counting_ids) == {OLD.key_id, NEW.key_id}


def test_a_revoked_key_counts_for_records_before_its_revocation_only() -> None:
    keys = VerifyingKeys.of_list(read_key_chain(signed_chain(*WHOLE), what="keys"))
    assert verify(event(OLD, TIME - timedelta(microseconds=1)), keys).alias == "prod"
    for time in (TIME, TIME + timedelta(days=1)):
        with pytest.raises(RevokedKeyError, match="revoked from 2026-05-01"):
            verify(event(OLD, time), keys)
        assert verify(event(NEW, time), keys).alias == "prod"
    assert keys.counting_ids == (NEW.key_id,)


def test_a_second_signature_by_a_key_that_counts_saves_a_record() -> None:
    keys = VerifyingKeys.of_list(THIRD)
    old, new = (json.loads(event(key, TIME)) for key in (OLD, NEW))
    both = json.dumps({**old, "signatures": [*old["signatures"], *new["signatures"]]}).encode()
    assert verify(both, keys).alias == "prod"


def test_a_stranger_is_no_revoked_key() -> None:
    with pytest.raises(DataLossError, match="no signature by a trusted key"):
        verify(event(STRANGER, TIME), VerifyingKeys.of_list(THIRD))


def replaced(item: KeyList, **changes: object) -> KeyList:
    return dataclasses.replace(item, **changes)  # type: ignore[arg-type]


BROKEN = {
    "a first list by a stranger": [(FIRST, STRANGER)],
    "a later list by a key that is only new in it": [(FIRST, OLD), (SECOND, NEW)],
    "a list by a key that was revoked": [*WHOLE, (replaced(THIRD, sequence=4, previous_sha256=THIRD.sha256), OLD)],
    "a list that is left out": [(FIRST, OLD), (THIRD, OLD)],
    "a list that comes twice": [(FIRST, OLD), (FIRST, OLD)],
    "another beginning": [(SECOND, OLD)],
    "another predecessor": [(FIRST, OLD), (replaced(SECOND, previous_sha256="0" * 64), OLD)],
    "a key that is dropped": [(FIRST, OLD), (replaced(SECOND, keys=(listed(NEW),)), OLD)],
    "a revocation that is taken back": [
        *WHOLE,
        (replaced(SECOND, sequence=4, previous_sha256=THIRD.sha256), NEW),
    ],
    "a revocation that is put off": [
        *WHOLE,
        (
            KeyList(
                sequence=4,
                keys=(replaced(REVOKED, revoked_time=TIME + timedelta(days=1)), listed(NEW)),  # type: ignore[arg-type]
                issue_time=TIME,
                previous_sha256=THIRD.sha256,
            ),
            NEW,
        ),
    ],
    "no key that counts": [(replaced(FIRST, keys=(REVOKED,)), OLD)],
    "a key twice": [(replaced(FIRST, keys=(listed(OLD), listed(OLD))), OLD)],
    "a key in another text form": [(replaced(FIRST, keys=(listed(OLD), ListedKey(pem=listed(NEW).pem + "\n"))), OLD)],
    "no list": [],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_chain_that_does_not_hold_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(signed_chain(*BROKEN[name]))
    with pytest.raises(InvalidArgumentError, match=r"keys\.json|key list"):
        VerifyingKeys.load(tmp_path / "keys.json")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_flipped_letter_anywhere_is_refused(share: float) -> None:
    data = signed_chain(*WHOLE)
    at = int(share * len(data))
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(InvalidArgumentError):
        read_key_chain(changed, what="keys")


def test_an_earlier_revocation_time_may_follow_a_later_one() -> None:
    earlier = replaced(
        THIRD,
        sequence=4,
        previous_sha256=THIRD.sha256,
        keys=(replaced(REVOKED, revoked_time=TIME - timedelta(days=9)), listed(NEW)),  # type: ignore[arg-type]
    )
    keys = VerifyingKeys.of_list(read_key_chain(signed_chain(*WHOLE, (earlier, NEW)), what="keys"))
    with pytest.raises(RevokedKeyError):
        verify(event(OLD, TIME - timedelta(days=5)), keys)


def test_a_file_of_pem_keys_still_does(tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_bytes(public_pem(OLD.public_key) + public_pem(NEW.public_key))
    keys = VerifyingKeys.load(tmp_path / "keys.pem")
    assert verify(event(OLD, TIME), keys) == verify(event(NEW, TIME), keys)


def following(*signed: tuple[KeyList, SigningKey]) -> VerifyingKeys:
    return VerifyingKeys.of_chain(signed_chain(*signed), what="x")


def test_keys_go_on_to_a_newer_chain_in_place_and_say_so_once() -> None:
    keys = following(*WHOLE[:1])
    assert (keys.sequence, keys.counting_ids) == (1, (OLD.key_id,))
    with pytest.raises(DataLossError):
        verify(event(NEW, TIME), keys)
    assert keys.follow(signed_chain(*WHOLE), what="x")
    assert not keys.follow(signed_chain(*WHOLE), what="x")
    assert (keys.sequence, keys.counting_ids, keys.chain) == (3, (NEW.key_id,), chain_of(keys))
    verify(event(NEW, TIME), keys)
    with pytest.raises(RevokedKeyError):
        verify(event(OLD, TIME), keys)


def chain_of(keys: VerifyingKeys) -> bytes:
    assert keys.chain is not None
    assert read_key_chain(keys.chain, what="x") == THIRD
    return keys.chain


OTHER_SECOND = KeyList(sequence=2, keys=(listed(OLD), listed(STRANGER)), issue_time=TIME, previous_sha256=FIRST.sha256)
OTHER_THIRD = KeyList(
    sequence=3, keys=(listed(OLD), listed(STRANGER)), issue_time=TIME, previous_sha256=OTHER_SECOND.sha256
)
FOREIGN = KeyList(sequence=1, keys=(listed(STRANGER),), issue_time=TIME)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (signed_chain(*WHOLE[:1]), "ends with list 1; list 2 was believed already"),
        (signed_chain(WHOLE[0], (OTHER_SECOND, OLD)), "its list 2 is another one"),
        (signed_chain(WHOLE[0], (OTHER_SECOND, OLD), (OTHER_THIRD, OLD)), "its list 2 is another one"),
        (signed_chain((FOREIGN, STRANGER)), "ends with list 1"),
        (signed_chain(*WHOLE[:2], (THIRD, STRANGER)), "another key"),
        (b"{}", "missing"),
        (b"", "JSON"),
    ],
)
def test_no_chain_that_is_older_or_another_takes_the_place_of_what_is_believed(data: bytes, why: str) -> None:
    keys = following(*WHOLE[:2])
    with pytest.raises(InvalidArgumentError, match=why):
        keys.follow(data, what="x")
    assert (keys.sequence, keys.counting_ids) == (2, (OLD.key_id, NEW.key_id))
    verify(event(OLD, TIME), keys)


def test_plain_keys_go_on_to_a_chain_that_one_of_them_began_and_to_no_other() -> None:
    keys = VerifyingKeys([OLD.public_key])
    assert (keys.sequence, keys.chain) == (0, None)
    with pytest.raises(InvalidArgumentError, match="does not begin"):
        keys.follow(signed_chain((FOREIGN, STRANGER)), what="x")
    assert keys.follow(signed_chain(*WHOLE), what="x")
    assert keys.sequence == 3
