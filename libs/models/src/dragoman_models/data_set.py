# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A data set in the store: the list of its files, the digest over that list, and the registry's signature.

Owns the record, its strict parsing and its verification. What rows the files hold is the trainer's matter.

    files -> data_sha256 -> DataSetRecord -> sign_data_set -> envelope -> verify_data_set -> DataSetRecord

Whoever has the digest can check files and list without any key; the signature is what a name is believed by.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import is_name
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.file_digest import MAX_FILE_BYTES, FileDigest, check_files, is_digest
from dragoman_models.record_fields import (
    MAX_INTEGER,
    canonical,
    canonical_json,
    payload_object,
    sha256_field,
    time_field,
    time_text,
)
from dragoman_models.signing import SigningKey, sign_envelope
from dragoman_models.verify import VerifyingKeys, verify_record

DATA_SET_FORMAT: Final = "dragoman.data-set/1"
DATA_SET_PAYLOAD_TYPE: Final = "application/vnd.dragoman.data-set.v1+json"
DATA_FILES_FORMAT: Final = "dragoman.data-files/1"
STORE_PREFIX: Final = "store:"


@dataclass(frozen=True, slots=True)
class StoredName:
    """A recipe's word for a data set in the store: ``store:NAME``, or with ``@SHA256`` exactly one of that name."""

    name: str
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> "StoredName | None":
        """Read the form above; None when the text does not begin as one.

        Raises:
            InvalidArgumentError: it begins so, and goes on otherwise.
        """
        if not text.startswith(STORE_PREFIX):
            return None
        name, at, sha256 = text.removeprefix(STORE_PREFIX).partition("@")
        if not is_name(name) or (at and not is_digest(sha256)):
            raise InvalidArgumentError(
                f"{text[:160]!r} must be {STORE_PREFIX}NAME, or {STORE_PREFIX}NAME@DIGEST with 64 hexadecimal digits"
            )
        return cls(name, sha256)

    def __str__(self) -> str:
        return f"{STORE_PREFIX}{self.name}" + (f"@{self.sha256}" if self.sha256 else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSetRecord:
    """One data set, for good.

    Attributes:
        number: Counts the data sets of this name from 1.
        sha256: data_sha256 of the files, which are in path order.
    """

    tenant: str
    name: str
    number: int
    sha256: str
    files: tuple[FileDigest, ...]
    put_by: str
    put_time: datetime
    nonce: str

    def to_payload(self) -> bytes:
        """Write the canonical JSON."""
        return canonical_json({**asdict(self), "format": DATA_SET_FORMAT, "put_time": time_text(self.put_time)})


def check_data_files(files: Iterable[FileDigest]) -> tuple[FileDigest, ...]:
    """Return the files in path order.

    Raises:
        InvalidArgumentError: see file_digest.check_files; or a path with a folder in it.
    """
    listed = check_files(files)
    if nested := [file.path for file in listed if "/" in file.path]:
        raise InvalidArgumentError(f"files: {nested[0]!r} lies in a folder; a data set is one folder of plain files")
    return listed


def data_sha256(files: Sequence[FileDigest]) -> str:
    """Return the digest of a data set: over names, sizes and digests of its files, in path order."""
    listed = [asdict(file) for file in sorted(files, key=lambda file: file.path)]
    return hashlib.sha256(canonical_json({"format": DATA_FILES_FORMAT, "files": listed})).hexdigest()


def sign_data_set(record: DataSetRecord, key: SigningKey) -> bytes:
    """Return the envelope of the record."""
    return sign_envelope(DATA_SET_PAYLOAD_TYPE, record.to_payload(), key)


def verify_data_set(envelope: bytes, keys: VerifyingKeys, *, tenant: str, name: str, number: int) -> DataSetRecord:
    """Return the data set that is expected at this place.

    Raises:
        DataLossError: no trusted signature, no data set, or another one's.
    """
    what = f"{tenant}/data/{name}/{number}"
    return verify_record(
        envelope,
        DATA_SET_PAYLOAD_TYPE,
        keys,
        _parse,
        what=what,
        holds="the signed data set",
        place=lambda record: f"{record.tenant}/data/{record.name}/{record.number}",
    )


def _parse(payload: bytes, *, what: str) -> DataSetRecord:
    top = Fields(
        payload_object(payload, what=what), what=what, required=(*DataSetRecord.__dataclass_fields__, "format")
    )
    top.text("format", choices=(DATA_SET_FORMAT,))
    record = DataSetRecord(
        tenant=top.text("tenant"),
        name=top.text("name"),
        number=top.integer("number", low=1, high=MAX_INTEGER),
        sha256=sha256_field(top, "sha256"),
        files=check_data_files(_file(item, what) for item in top.items("files", max_items=1000)),
        put_by=top.text("put_by", max_chars=1024),
        put_time=time_field(top, "put_time"),
        nonce=top.text("nonce"),
    )
    if record.sha256 != data_sha256(record.files):
        raise InvalidArgumentError(f"{what}: sha256 does not follow from the files")
    return canonical(record, payload, what)


def _file(value: JsonValue, what: str) -> FileDigest:
    fields = Fields(value, what=f"{what}: files", required=tuple(FileDigest.__dataclass_fields__))
    return FileDigest(
        path=fields.text("path"),
        size_bytes=fields.integer("size_bytes", low=0, high=MAX_FILE_BYTES),
        sha256=sha256_field(fields, "sha256"),
    )
