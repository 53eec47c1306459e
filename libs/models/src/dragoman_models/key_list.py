# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The list of keys whose signatures count: which there are, and since when one does not count any more.

    {"format": "dragoman.key-chain/1", "lists": [envelope, ...]}      the file: every list, oldest first

Each list is signed by a key that the list before it holds and does not revoke; the first by one of its own. Whoever is
given the file decides to believe it, as with a file of PEM keys; the chain keeps a list from being replaced by an older
or a foreign one unseen. Owns the record, its parsing and its chain; verify asks it who counts when.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.record_fields import (
    MAX_INTEGER,
    MAX_REASON_CHARS,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    text_value,
    time_field,
    time_text,
)

KEY_LIST_FORMAT = "dragoman.key-list/1"
KEY_CHAIN_FORMAT = "dragoman.key-chain/1"
KEY_LIST_PAYLOAD_TYPE = "application/vnd.dragoman.key-list.v1+json"
MAX_KEYS = 100
MAX_LISTS = 1000
# It must fit a message of 4 MiB.
MAX_CHAIN_BYTES = 3 << 20
_MAX_PEM_CHARS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedKey:
    """One public key.

    Attributes:
        pem: SubjectPublicKeyInfo of an ECDSA key on P-256.
        revoked_time: Signatures on records of this time or later do not count; None for a key that counts.
        reason: Why it was revoked.
    """

    pem: str
    revoked_time: datetime | None = None
    reason: str = ""

    @property
    def key_id(self) -> str:
        """SHA-256 in hex of the PEM, as signatures name it."""
        return hashlib.sha256(self.pem.encode("ascii")).hexdigest()

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the key.

        Raises:
            InvalidArgumentError: the PEM is not one of a P-256 key in its one text form.
        """
        try:
            key = serialization.load_pem_public_key(self.pem.encode("ascii"))
        except ValueError as error:
            raise InvalidArgumentError(f"key list: not a PEM public key ({type(error).__name__})") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidArgumentError("key list: every key must be ECDSA on curve P-256")
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if pem.decode("ascii") != self.pem:
            raise InvalidArgumentError("key list: a PEM is not in its usual form, so its id would be another's")
        return key


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyList:
    """One state of the list; a key, once listed, stays listed, and a revocation never moves to a later time."""

    sequence: int
    keys: tuple[ListedKey, ...]
    issue_time: datetime
    previous_sha256: str = ""

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        content = asdict(self)
        keys = [
            {**key, "revoked_time": time_text(key["revoked_time"]) if key["revoked_time"] else ""}
            for key in content["keys"]
        ]
        return canonical_json(
            {**content, "keys": keys, "format": KEY_LIST_FORMAT, "issue_time": time_text(self.issue_time)}
        )

    @property
    def sha256(self) -> str:
        """The digest by which the next list names this one."""
        return hashlib.sha256(self.to_payload()).hexdigest()

    @property
    def by_id(self) -> Mapping[str, ListedKey]:
        """The keys by their id."""
        return {key.key_id: key for key in self.keys}


def parse_key_list(payload: bytes, *, what: str) -> KeyList:
    """Read a payload.

    Raises:
        InvalidArgumentError: not the one byte form of a list, no key, one twice, or none that counts.
    """
    top = Fields(payload_object(payload, what=what), what=what, required=(*KeyList.__dataclass_fields__, "format"))
    top.text("format", choices=(KEY_LIST_FORMAT,))
    found = KeyList(
        sequence=top.integer("sequence", low=1, high=MAX_INTEGER),
        keys=tuple(_key(value, what) for value in top.items("keys", max_items=MAX_KEYS)),
        issue_time=time_field(top, "issue_time"),
        previous_sha256=sha256_field(top, "previous_sha256", may_be_empty=True),
    )
    if len(found.by_id) != len(found.keys):
        raise InvalidArgumentError(f"{what}: a key is listed twice")
    if all(key.revoked_time for key in found.keys):
        raise InvalidArgumentError(f"{what}: no key counts, so nothing could be signed or believed any more")
    for key in found.keys:
        key.public_key()
    return canonical(found, payload, what)


def check_follows(previous: KeyList | None, following: KeyList, *, signer: str, what: str) -> None:
    """Refuse a list that cannot come after another.

    Args:
        previous: The list before it, None for the first.
        following: The list in question.
        signer: The id of the key that signed it.
        what: Names it in messages.

    Raises:
        InvalidArgumentError: a wrong place in the chain, a signer that does not count, a key dropped, or a revocation
            taken back or moved to a later time.
    """
    believed = (previous or following).by_id
    if signer not in believed or believed[signer].revoked_time is not None:
        raise InvalidArgumentError(f"{what}: is not signed by a key that counts")
    if following.sequence != (previous.sequence + 1 if previous else 1):
        raise InvalidArgumentError(f"{what}: is list {following.sequence}")
    if following.previous_sha256 != (previous.sha256 if previous else ""):
        raise InvalidArgumentError(f"{what}: names another predecessor")
    for key_id, key in (previous.by_id if previous else {}).items():
        now = following.by_id.get(key_id)
        if now is None:
            raise InvalidArgumentError(f"{what}: drops the key {key_id[:12]}; revoke it instead")
        if key.revoked_time and (now.revoked_time is None or now.revoked_time > key.revoked_time):
            raise InvalidArgumentError(f"{what}: takes the revocation of {key_id[:12]} back")


def chain_envelopes(data: bytes, *, what: str) -> Sequence[bytes]:
    """Return the envelopes of a chain file, oldest first, unverified.

    Raises:
        InvalidArgumentError: not such a file.
    """
    top = Fields(payload_object(data, what=what), what=what, required=("format", "lists"))
    top.text("format", choices=(KEY_CHAIN_FORMAT,))
    lists = top.items("lists", max_items=MAX_LISTS)
    if not lists or not all(isinstance(item, dict) for item in lists):
        raise InvalidArgumentError(f"{what}: lists must hold at least one envelope")
    return [canonical_json(item) for item in lists if isinstance(item, dict)]


def chain_of(envelopes: Iterable[bytes]) -> bytes:
    """Write the chain file that `chain_envelopes` reads; what is in it is not checked."""
    return canonical_json({"format": KEY_CHAIN_FORMAT, "lists": [json.loads(envelope) for envelope in envelopes]})


def _key(value: JsonValue, what: str) -> ListedKey:
    fields = Fields(value, what=f"{what}: keys", required=tuple(ListedKey.__dataclass_fields__))
    pem = fields.text("pem", max_chars=_MAX_PEM_CHARS)
    if not pem.isascii():
        raise InvalidArgumentError(f"{what}: a PEM holds letters that none has")
    reason = text_value(fields.raw("reason"), f"{what}: reason")
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise InvalidArgumentError(f"{what}: reason must be at most {MAX_REASON_CHARS} printable characters")
    return ListedKey(
        pem=pem, revoked_time=time_field(fields, "revoked_time") if fields.raw("revoked_time") else None, reason=reason
    )
