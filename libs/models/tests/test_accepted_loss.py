# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A follower goes past the loss of the event that it has seen only by a signed acceptance of exactly that loss."""

from datetime import UTC, datetime

import pytest

from dragoman_common.errors import DataLossError
from dragoman_models.accepted_loss import newest_after_loss
from dragoman_models.gate_basis import LostEvent
from dragoman_models.record import AliasRecord
from dragoman_models.signing import SigningKey, sign_alias_record
from dragoman_models.verify import VerifyingKeys, payload_sha256

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
KEYS = VerifyingKeys([KEY.public_key])


def after(previous: AliasRecord | None, nonce: str, **changes: object) -> AliasRecord:
    fields: dict[str, object] = {
        "tenant": "acme",
        "model": "r8",
        "alias": "prod",
        "sequence": previous.sequence + 1 if previous else 1,
        "stable_version": 1,
        "stable_root_sha256": "0" * 64,
        "moved_by": "operator:ada",
        "move_time": datetime(2026, 5, 1, tzinfo=UTC),
        "request_id": "q",
        "nonce": nonce,
        "previous_sha256": payload_sha256(previous) if previous else "",
    }
    return AliasRecord(**(fields | changes))  # type: ignore[arg-type]


FIRST = after(None, "1")
SECOND = after(FIRST, "2")
SEEN = after(SECOND, "3")
LOST = LostEvent(sequence=3, sha256=payload_sha256(SEEN))
ACCEPTING = after(FIRST, "2'", accepted_loss=LOST)
NEXT = after(ACCEPTING, "3'")
NEWEST = after(NEXT, "4'")


async def newest(
    *records: AliasRecord, key: SigningKey = KEY, lost: LostEvent = LOST, last: int | None = None
) -> AliasRecord | None:
    async def envelopes():
        for record in records:
            yield sign_alias_record(record, key)

    found = await newest_after_loss(envelopes(), KEYS, tenant="acme", model="r8", alias="prod", lost=lost, last=last)
    return found and found[0]


@pytest.mark.parametrize("skipped", [0, 1])
@pytest.mark.parametrize("num_after", [0, 1, 2])
async def test_the_newest_event_after_an_acceptance_is_gone_on_to(skipped, num_after):
    records = (FIRST, ACCEPTING, NEXT, NEWEST)
    assert await newest(*records[skipped : 2 + num_after]) == records[1 + num_after]


@pytest.mark.parametrize(("last", "expected"), [(1, None), (2, ACCEPTING), (3, NEXT), (9, NEWEST)])
async def test_it_is_gone_no_further_than_asked(last, expected):
    assert await newest(FIRST, ACCEPTING, NEXT, NEWEST, last=last) == expected


@pytest.mark.parametrize("records", [(), (FIRST,), (FIRST, SECOND, SEEN), (after(None, "x"), after(FIRST, "2'"))])
async def test_without_an_acceptance_there_is_nothing_to_go_on_to(records):
    assert await newest(*records) is None


@pytest.mark.parametrize(
    "lost", [LostEvent(sequence=3, sha256="0" * 64), LostEvent(sequence=4, sha256=LOST.sha256)], ids=["other", "place"]
)
async def test_the_acceptance_of_another_loss_is_none_of_this_one(lost):
    assert await newest(FIRST, ACCEPTING, NEXT, lost=lost) is None


@pytest.mark.parametrize(
    "records", [(ACCEPTING, NEWEST), (ACCEPTING, SEEN), (ACCEPTING, ACCEPTING), (ACCEPTING, after(SECOND, "y"))]
)
async def test_what_does_not_continue_the_acceptance_is_refused(records):
    with pytest.raises(DataLossError):
        await newest(*records)


async def test_an_acceptance_that_nobody_signed_is_refused():
    with pytest.raises(DataLossError, match="no signature by a trusted key"):
        await newest(ACCEPTING, key=STRANGER)
