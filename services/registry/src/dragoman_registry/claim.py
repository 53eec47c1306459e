# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A claim: the number that a content means to take, written before the version is."""

import secrets

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.record_fields import MAX_INTEGER, canonical_json
from dragoman_registry.ports import ObjectStore
from dragoman_text.strict_json import parse_object

CLAIM_FORMAT = "dragoman.claim/1"
_MAX_BYTES = 4096


def new_claim(number: int) -> bytes:
    """Return the bytes of a claim that no other writer has."""
    return canonical_json({"format": CLAIM_FORMAT, "number": number, "nonce": secrets.token_hex(16)})


async def read_claim(store: ObjectStore, key: str) -> int:
    """Return the number that is claimed under a key.

    Raises:
        ObjectNotFoundError: there is no claim.
        DataLossError: what is there is none.
    """
    data = await store.read(key, length=_MAX_BYTES + 1)
    try:
        fields = Fields(
            parse_object(data, what=key, max_bytes=_MAX_BYTES), what=key, required=("format", "number", "nonce")
        )
        fields.text("format", choices=(CLAIM_FORMAT,))
        return fields.integer("number", low=1, high=MAX_INTEGER)
    except InvalidArgumentError as error:
        raise DataLossError(str(error)) from error
