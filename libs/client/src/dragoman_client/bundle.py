# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version in one file, for another site: a tar of plain files that proves what it holds.

    bundle.json              format, tenant, model and number at home
    manifest.json            the signed manifest              model.sig        the model signature
    evidence/<digest>.json   signed evidence                  files/<path>     exactly the files that the manifest lists

Equal versions give equal bytes. A reader believes nothing but its key: everything is verified before anything is used,
and links, repeated names and members that nobody listed are refused.
"""

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.errors import AlreadyExistsError, DataLossError, InvalidArgumentError
from dragoman_models.evidence import EvidenceRecord, verify_evidence
from dragoman_models.fields import Fields
from dragoman_models.file_digest import MAX_FILES, FileDigest, is_digest
from dragoman_models.record import VersionManifest
from dragoman_models.record_fields import MAX_INTEGER, canonical_json, payload_object
from dragoman_models.verify import MAX_ENVELOPE_BYTES, VerifyingKeys, verify_manifest, verify_model_bundle
from dragoman_models.verify_files import READ_BYTES, verify_chunks

BUNDLE_FORMAT = "dragoman.bundle/1"
HEAD = "bundle.json"
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
FILES = "files/"
EVIDENCE = "evidence/"

MAX_EVIDENCE = 1000
_MAX_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle whose every byte was verified."""

    path: Path
    manifest: VersionManifest
    evidence: Sequence[EvidenceRecord]

    def content(self, file: FileDigest) -> Iterator[bytes]:
        """Yield a file's bytes; whoever takes them checks them again, since the bundle may change meanwhile."""
        with _opened(self.path) as tar:
            yield from _chunks(tar, tar.getmember(f"{FILES}{file.path}"))


def write_bundle(
    path: Path,
    *,
    manifest: VersionManifest,
    envelope: bytes,
    signature: bytes,
    evidence: Mapping[str, bytes],
    folder: Path,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        path: Where; nothing may be there.
        manifest: Verified.
        envelope: The manifest as signed.
        signature: The model signature.
        evidence: Envelopes by digest.
        folder: Holds exactly the manifest's files.

    Raises:
        AlreadyExistsError: there is such a file.
    """
    head = {
        "format": BUNDLE_FORMAT,
        "tenant": manifest.tenant,
        "model": manifest.model,
        "number": manifest.number,
    }
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        part = Path(beside) / "part"
        with part.open("xb") as target:
            with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _add(tar, HEAD, canonical_json(head))
                _add(tar, MANIFEST, envelope)
                _add(tar, SIGNATURE, signature)
                for digest, data in sorted(evidence.items()):
                    _add(tar, f"{EVIDENCE}{digest}.json", data)
                for file in manifest.files:
                    with (folder / file.path).open("rb") as source:
                        tar.addfile(_member(f"{FILES}{file.path}", file.size_bytes), source)
            target.flush()
            os.fsync(target.fileno())
        try:
            # A link is made only where nothing is, unlike a rename.
            os.link(part, path)
        except FileExistsError:
            raise AlreadyExistsError(f"{path} exists already") from None


def read_bundle(path: Path, keys: VerifyingKeys) -> Bundle:
    """Verify a bundle from its first byte to its last.

    Raises:
        InvalidArgumentError: no tar, or no bundle.
        DataLossError: a signature, digest or size does not hold; a member is a link, comes twice, or is not listed.
    """
    try:
        with _opened(path) as tar:
            return _read(path, tar, keys)
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise InvalidArgumentError(f"{path.name} is not a readable tar file: {error}") from error


def _read(path: Path, tar: tarfile.TarFile, keys: VerifyingKeys) -> Bundle:
    members = _members(tar)
    if missing := [name for name in (HEAD, MANIFEST, SIGNATURE) if name not in members]:
        raise InvalidArgumentError(f"{path.name} is no bundle: {missing[0]} is missing")
    head = Fields(
        payload_object(_small(tar, members[HEAD], _MAX_HEAD_BYTES), what=HEAD),
        what=HEAD,
        required=("format", "tenant", "model", "number"),
    )
    head.text("format", choices=(BUNDLE_FORMAT,))
    manifest = verify_manifest(
        _small(tar, members[MANIFEST], MAX_ENVELOPE_BYTES),
        keys,
        tenant=head.text("tenant"),
        model=head.text("model"),
        number=head.integer("number", low=1, high=MAX_INTEGER),
    )
    verify_model_bundle(_small(tar, members[SIGNATURE], MAX_ENVELOPE_BYTES), keys, manifest)
    evidence = [_evidence(tar, members[name], keys, manifest) for name in sorted(members) if name.startswith(EVIDENCE)]
    listed = {f"{FILES}{file.path}" for file in manifest.files}
    found = {name for name in members if name.startswith(FILES)}
    if listed != found:
        raise DataLossError(f"{path.name}: {min(listed ^ found)} is not both listed and there")
    what = f"{manifest.tenant}/{manifest.model}/versions/{manifest.number}"
    for file in manifest.files:
        verify_chunks(_chunks(tar, members[f"{FILES}{file.path}"]), file, what=what)
    return Bundle(path=path, manifest=manifest, evidence=evidence)


def _members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        name = member.name
        if not member.isreg() or member.issparse():
            raise DataLossError(f"{name[:200]!r} is a link or no plain file")
        if name in members:
            raise DataLossError(f"{name[:200]!r} comes twice")
        if name not in (HEAD, MANIFEST, SIGNATURE) and not name.startswith((FILES, EVIDENCE)):
            raise DataLossError(f"{name[:200]!r} belongs to no bundle")
        members[name] = member
        if len(members) > MAX_FILES + MAX_EVIDENCE + 3:
            raise DataLossError("the bundle holds more files than a version can have")
    return members


def _evidence(
    tar: tarfile.TarFile, member: tarfile.TarInfo, keys: VerifyingKeys, manifest: VersionManifest
) -> EvidenceRecord:
    digest = member.name.removeprefix(EVIDENCE).removesuffix(".json")
    if not is_digest(digest):
        raise DataLossError(f"{member.name[:200]!r} belongs to no bundle")
    record = verify_evidence(
        _small(tar, member, MAX_ENVELOPE_BYTES),
        keys,
        tenant=manifest.tenant,
        model=manifest.model,
        version=manifest.number,
        digest=digest,
    )
    if record.root_sha256 != manifest.root_sha256:
        raise DataLossError(f"{member.name} speaks of other content")
    return record


def _small(tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    if member.size > max_bytes:
        raise InvalidArgumentError(f"{member.name} has {member.size} bytes, the limit is {max_bytes}")
    return b"".join(_chunks(tar, member))


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = tar.extractfile(member)
    if source is None:
        raise DataLossError(f"{member.name[:200]!r} is no plain file")
    with source:
        while chunk := source.read(READ_BYTES):
            yield chunk


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    # Nothing of who wrote it, or when.
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o644
    return member


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    # "r:" reads no compressed tar: what unpacks to far more than it is cannot be bounded.
    with path.open("rb") as source, tarfile.open(fileobj=source, mode="r:") as tar:
        yield tar
