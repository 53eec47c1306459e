# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""For tests: signed key lists, as an operator would have written them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dragoman_models.key_list import KEY_LIST_PAYLOAD_TYPE, KeyList, ListedKey, chain_of
from dragoman_models.signing import SigningKey, public_pem, sign_envelope

ISSUE_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def listed(key: SigningKey, **changes: Any) -> ListedKey:
    """The key's line in a list."""
    return ListedKey(pem=public_pem(key.public_key).decode(), **changes)


def signed_chain(*signed: tuple[KeyList, SigningKey]) -> bytes:
    """A file of these lists, each signed by the key beside it, whether that may sign it or not."""
    return chain_of(sign_envelope(KEY_LIST_PAYLOAD_TYPE, item.to_payload(), key) for item, key in signed)


def foreign_list(key: SigningKey) -> bytes:
    """A list that is right in itself, of a key that nobody here believes."""
    return signed_chain((KeyList(sequence=1, keys=(listed(key),), issue_time=ISSUE_TIME), key))


def rotated_lists(old: SigningKey, new: SigningKey) -> list[bytes]:
    """Three files, each going on from the one before: the old key; both; the old one revoked from before all time."""
    first = KeyList(sequence=1, keys=(listed(old),), issue_time=ISSUE_TIME)
    second = KeyList(sequence=2, keys=(listed(old), listed(new)), issue_time=ISSUE_TIME, previous_sha256=first.sha256)
    gone = listed(old, revoked_time=ISSUE_TIME - timedelta(days=9999), reason="stolen")
    third = KeyList(sequence=3, keys=(gone, listed(new)), issue_time=ISSUE_TIME, previous_sha256=second.sha256)
    signed = ((first, old), (second, old), (third, new))
    return [signed_chain(*signed[:n]) for n in (1, 2, 3)]
