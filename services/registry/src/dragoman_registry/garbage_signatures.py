# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Second signatures that have had their day: made by a key that was revoked later, beside a signature that counts.

A revocation is never taken back, and signed_object reads no copy of a revoked key, so nobody misses them. Where nothing
else counts the copy stays: it may be the last word that there is.
"""

from dragoman_models.verify import VerifyingKeys
from dragoman_registry import layout
from dragoman_registry.bounded import map_bounded
from dragoman_registry.ports import MAX_OBJECT_BYTES, ObjectNotFoundError, ObjectStore, is_key
from dragoman_registry.signed_object import named_signer

_READS_AT_ONCE = 8


async def revoked_signatures(store: ObjectStore, keys: VerifyingKeys, tenant: str) -> list[tuple[str, int]]:
    """Return the keys and sizes of the copies that are not needed."""
    found: list[tuple[str, int]] = []
    for key_id in await store.names_below(layout.all_resigned(tenant)):
        if not keys.may_be_revoked(key_id):
            continue
        prefix = f"{layout.all_resigned(tenant)}/{key_id}"
        tags = {key: tag for key, tag in (await store.tags_below(prefix)).items() if is_key(key)}

        async def is_needed(copy: str, prefix: str = prefix) -> bool:
            original = f"{layout.TENANTS}/{tenant}/{copy.removeprefix(f'{prefix}/')}"
            return not await _is_signed_otherwise(store, keys, original)

        needed = await map_bounded(is_needed, sorted(tags), width=_READS_AT_ONCE)
        found += [
            (copy, tags[copy].size_bytes) for copy, is_kept in zip(sorted(tags), needed, strict=True) if not is_kept
        ]
    return found


async def _is_signed_otherwise(store: ObjectStore, keys: VerifyingKeys, original: str) -> bool:
    try:
        signer = named_signer(await store.read(original, length=MAX_OBJECT_BYTES))
    except ObjectNotFoundError:
        return False
    if signer in keys.counting_ids:
        return True
    for key_id in keys.counting_ids:
        try:
            await store.read(layout.resigned(original, key_id), length=1)
        except ObjectNotFoundError:
            continue
        return True
    return False
