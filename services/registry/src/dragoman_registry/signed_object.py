# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Signed objects out of the store, by the signature that counts: the first one, or one that was added later.

Objects are written once, so a record that is signed again keeps its place. Under the new key it lies at

    tenants/<t>/resigned/<key id>/models/...        mirrors tenants/<t>/models/...

Which of them is read is only a choice of bytes: whatever comes out is verified as if it were the first.
"""

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.ports import MAX_OBJECT_BYTES, ObjectNotFoundError, ObjectStore
from dragoman_text.strict_json import parse_object


async def read_signed(store: ObjectStore, keys: VerifyingKeys, key: str) -> bytes:
    """Return the object, or its copy under a key that counts when the object's own was revoked and there is a copy.

    Raises:
        ObjectNotFoundError: nothing under the key, whatever copies there are.
    """
    data = await store.read(key, length=MAX_OBJECT_BYTES)
    if not keys.may_be_revoked(named_signer(data)):
        return data
    for key_id in keys.counting_ids:
        try:
            return await store.read(layout.resigned(key, key_id), length=MAX_OBJECT_BYTES)
        except ObjectNotFoundError:
            continue
    return data


def named_signer(data: bytes) -> str:
    """Return the key that a version object or an envelope names as its signer; empty where none can be read."""
    try:
        top = parse_object(data, what="object", max_bytes=MAX_OBJECT_BYTES)
    except InvalidArgumentError:
        return ""
    envelope = top.get("manifest", top)
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    first = signatures[0] if isinstance(signatures, list) and signatures else None
    named = first.get("keyid") if isinstance(first, dict) else None
    return named if isinstance(named, str) else ""
