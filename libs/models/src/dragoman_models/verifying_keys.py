# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The public keys whose signatures count, and from when on one does not.

Owns reading them from a file, of PEM keys or a signed chain of key lists (key_list), going on to newer lists, and the
question who signed. Records are verify's.

    file | GetKeyList -> chain -> continues what is believed? -> the keys of its newest list
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.key_list import (
    KEY_LIST_PAYLOAD_TYPE,
    MAX_CHAIN_BYTES,
    KeyList,
    chain_envelopes,
    check_follows,
    parse_key_list,
)
from dragoman_models.record_fields import payload_object, sha256_field, time_text
from dragoman_models.signing import key_id, pre_authentication_encoding


class RevokedKeyError(DataLossError):
    """A trusted key signed the record, but its signatures do not count for the record's time."""


class VerifyingKeys:
    """The public keys whose signatures count. Everyone in a process shares one object; follow changes it in place.

    Attributes:
        chain: The chain of key lists that they are from, as bytes; None for plain keys.
        on_unknown_signer: Called when a signature is by no key of these, in the thread that looked; a newer list may
            hold it.
    """

    def __init__(
        self,
        keys: Iterable[ec.EllipticCurvePublicKey],
        revoked: Mapping[str, datetime] | None = None,
        *,
        newest: KeyList | None = None,
        chain: bytes | None = None,
    ) -> None:
        """Take P-256 keys, and by id from which record time on one does not count; of a chain, also its newest list.

        Raises:
            InvalidArgumentError: no key: an empty list would refuse everything, which is never meant.
        """
        self._keys = tuple(keys)
        self._revoked = dict(revoked or {})
        self._newest = newest
        self.chain = chain
        self.on_unknown_signer: Callable[[], None] | None = None
        if not self._keys:
            raise InvalidArgumentError("verifying keys: at least one public key is needed")

    @classmethod
    def load(cls, path: Path) -> "VerifyingKeys":
        """Read a file: PEM public keys, one after the other, or a chain of signed key lists.

        Raises:
            InvalidArgumentError: the file is absent or unreadable, a block is no P-256 public key, or a list does not
                follow from the one before it.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAX_CHAIN_BYTES + 1)
            if data[:1] == b"{":
                return cls.of_chain(data, what=f"verifying keys {path.name}")
            text = data.decode("ascii")
            end = "-----END PUBLIC KEY-----"
            blocks = [f"{block}{end}\n".encode() for block in text.split(end) if block.strip()]
            loaded = [serialization.load_pem_public_key(block) for block in blocks]
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(
                f"verifying keys {path.name}: not readable PEM public keys ({type(error).__name__})"
            ) from error
        keys = [
            key for key in loaded if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        ]
        if len(keys) != len(loaded):
            raise InvalidArgumentError(f"verifying keys {path.name}: every key must be ECDSA on curve P-256")
        return cls(keys)

    def signer(self, payload_type: str, payload: bytes, signature: bytes) -> str | None:
        """Return the id of the key that made the signature over this type and payload; None if no key of ours did."""
        message = pre_authentication_encoding(payload_type, payload)
        for key in self._keys:
            try:
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return key_id(key)
        if self.on_unknown_signer is not None:
            self.on_unknown_signer()
        return None

    @classmethod
    def of_list(cls, key_list: KeyList) -> "VerifyingKeys":
        """Take the keys of the newest list of a chain."""
        return cls((key.public_key() for key in key_list.keys), _revoked(key_list))

    @classmethod
    def of_chain(cls, data: bytes, *, what: str) -> "VerifyingKeys":
        """Take the keys of a chain that the caller has reason to believe, such as one in a file of its own.

        Raises:
            InvalidArgumentError: no chain, or one that does not hold.
        """
        newest = read_key_chain(data, what=what)
        keys = (key.public_key() for key in newest.keys)
        return cls(keys, _revoked(newest), newest=newest, chain=data)

    def follow(self, data: bytes, *, what: str) -> bool:
        """Go on to a newer chain, whoever brings it: from then on its newest list counts, for all who share these keys.

        Args:
            data: A chain as a file or GetKeyList holds it.
            what: Names it in messages.

        Returns:
            Whether it was newer. What was verified before must then be verified again.

        Raises:
            InvalidArgumentError: it does not hold, or does not continue the chain of these keys; for plain keys, its
                first list is not signed by one of them. The keys stay as they were.
        """
        lists = _read_lists(data, what=what)
        known, newest = self._newest, lists[-1][0]
        if known is None:
            if lists[0][1] not in {key_id(key) for key in self._keys}:
                raise InvalidArgumentError(f"{what}: does not begin with a list signed by a key that is believed here")
        elif newest.sequence < known.sequence:
            raise InvalidArgumentError(
                f"{what}: ends with list {newest.sequence}; list {known.sequence} was believed already"
            )
        elif lists[known.sequence - 1][0] != known:
            raise InvalidArgumentError(f"{what}: its list {known.sequence} is another one than was believed already")
        if known == newest:
            return False
        # Each on its own, and revocations first: a thread that reads between two of these refuses rather than believes.
        self._revoked = _revoked(newest)
        self._keys = tuple(key.public_key() for key in newest.keys)
        self._newest, self.chain = newest, data
        return True

    @property
    def sequence(self) -> int:
        """The newest list's, 0 for plain keys. It never goes down."""
        return self._newest.sequence if self._newest else 0

    @property
    def counting_ids(self) -> tuple[str, ...]:
        """The ids of the keys that are not revoked."""
        return tuple(found for found in map(key_id, self._keys) if found not in self._revoked)

    def may_be_revoked(self, signer: str) -> bool:
        """Tell whether the record's time decides."""
        return signer in self._revoked

    def check_time(self, signer: str, time: datetime, *, what: str) -> None:
        """Refuse a record that a key signed which did not count any more at the record's time.

        The time is the record's own word. Who has a stolen key can say any time: revoke it from before it was stolen,
        and sign again what is known to be good.

        Raises:
            RevokedKeyError: it did not count.
        """
        since = self._revoked.get(signer)
        if since is not None and time >= since:
            raise RevokedKeyError(
                f"{what}: is signed by key {signer[:12]}, which is revoked from {time_text(since)} on; "
                f"the record is of {time_text(time)}"
            )


def read_key_chain(data: bytes, *, what: str) -> KeyList:
    """Return the newest list of a chain file, every list verified.

    Raises:
        InvalidArgumentError: no chain, or one that does not hold.
    """
    return _read_lists(data, what=what)[-1][0]


def _read_lists(data: bytes, *, what: str) -> list[tuple[KeyList, str]]:
    """Return every list of a chain, verified, and who signed it; at least one."""
    if len(data) > MAX_CHAIN_BYTES:
        raise InvalidArgumentError(f"{what}: larger than {MAX_CHAIN_BYTES} bytes")
    found: list[tuple[KeyList, str]] = []
    previous: KeyList | None = None
    for number, envelope in enumerate(chain_envelopes(data, what=what), start=1):
        place = f"{what}: list {number}"
        payload, signature, named = _single_signature(envelope, place)
        following = parse_key_list(payload, what=place)
        signer = VerifyingKeys.of_list(previous or following).signer(KEY_LIST_PAYLOAD_TYPE, payload, signature)
        if signer != named:
            raise InvalidArgumentError(f"{place}: names another key than the one that signed")
        check_follows(previous, following, signer=named, what=place)
        previous = following
        found.append((following, named))
    if not found:
        raise InvalidArgumentError(f"{what}: holds no list")
    return found


def _revoked(key_list: KeyList) -> dict[str, datetime]:
    return {key.key_id: key.revoked_time for key in key_list.keys if key.revoked_time}


def _single_signature(envelope: bytes, what: str) -> tuple[bytes, bytes, str]:
    top = Fields(payload_object(envelope, what=what), what=what, required=("payloadType", "payload", "signatures"))
    top.text("payloadType", choices=(KEY_LIST_PAYLOAD_TYPE,))
    entry = next(iter(top.items("signatures", max_items=1)), None)
    signature = Fields(entry, what=f"{what}: signatures", required=("sig", "keyid"))
    try:
        payload, raw = (
            base64.b64decode(fields.text(key, max_chars=MAX_CHAIN_BYTES), validate=True)
            for fields, key in ((top, "payload"), (signature, "sig"))
        )
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(f"{what}: payload and sig must be base64") from error
    return payload, raw, sha256_field(signature, "keyid")
