# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Records and files are refused unless they are exactly what a trusted key signed for exactly this place."""

import base64
import dataclasses
import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.file_digest import FileDigest, check_files, root_sha256
from dragoman_models.package import InputLimits, TokenizerFile
from dragoman_models.record import (
    VERSION_PAYLOAD_TYPE,
    AliasRecord,
    Candidate,
    Lineage,
    VersionManifest,
    parse_alias_record,
    parse_version_manifest,
)
from dragoman_models.record_fields import canonical_json
from dragoman_models.signing import SigningKey, sign_alias_record, sign_envelope, sign_manifest, sign_model
from dragoman_models.verify import (
    VerifyingKeys,
    payload_sha256,
    verify_alias_event,
    verify_envelope,
    verify_manifest,
    verify_model_bundle,
)
from dragoman_models.verify_files import StreamCheck, verify_chunks, verify_files

KEY = SigningKey.generate()
KEYS = VerifyingKeys([KEY.public_key])
CONTENT = {"model.json": b"{}", "weights.safetensors": b"weights", "extra/card.md": b""}
FILES = check_files(
    FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    for path, data in CONTENT.items()
)
TIME = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MANIFEST = VersionManifest(
    tenant="acme",
    model="r8",
    number=3,
    root_sha256=root_sha256(FILES),
    files=FILES,
    task="text-classification",
    architecture="rnn",
    labels=("acq", "größe \U0001f600"),
    input_limits=InputLimits(),
    tokenizer=TokenizerFile(backend="basic_english"),
    publish_time=TIME,
    publisher="trainer:job-1",
    publish_id="p1",
    nonce="n1",
    lineage=Lineage(job_id="job-1", recipe="epochs: 3\n", data_sha256="0" * 64, parent_version=1),
)
# The first format, which registries wrote before there was a second digest of files.
MANIFEST_1 = MANIFEST
MANIFEST = dataclasses.replace(MANIFEST_1, blake3=tuple(blake3(CONTENT[file.path]).hexdigest() for file in FILES))
FIRST = AliasRecord(
    tenant="acme",
    model="r8",
    alias="prod",
    sequence=1,
    stable_version=3,
    stable_root_sha256=MANIFEST.root_sha256,
    moved_by="operator:me",
    move_time=TIME,
    request_id="q1",
    nonce="n2",
)
SECOND = dataclasses.replace(
    FIRST,
    sequence=2,
    move_time=TIME + timedelta(seconds=1),
    candidate=Candidate(version=4, root_sha256="1" * 64, weight_basis_points=250),
    previous_sha256=payload_sha256(FIRST),
)
PLACE = {"tenant": "acme", "model": "r8"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, data in CONTENT.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def test_records_survive_signing_and_verification():
    for manifest in (MANIFEST_1, MANIFEST):
        assert verify_manifest(sign_manifest(manifest, KEY), KEYS, **PLACE, number=3) == manifest
    first = verify_alias_event(sign_alias_record(FIRST, KEY), KEYS, **PLACE, alias="prod", sequence=1)
    assert first == FIRST
    assert verify_alias_event(sign_alias_record(SECOND, KEY), KEYS, **PLACE, alias="prod", previous=first) == SECOND


def test_a_flipped_bit_in_any_byte_of_an_envelope_is_refused():
    # Signatures differ in length, and with it the padding of their base64, so several are tried.
    for envelope in (sign_manifest(MANIFEST, KEY) for _ in range(4)):
        for position in range(len(envelope)):
            damaged = bytearray(envelope)
            damaged[position] ^= 1 << (position % 8)
            with pytest.raises(DataLossError):
                verify_manifest(bytes(damaged), KEYS, **PLACE, number=3)


@pytest.mark.parametrize("change", [{"tenant": "other"}, {"model": "r52"}, {"number": 4}])
def test_the_valid_manifest_of_another_version_is_refused_by_name(change):
    envelope = sign_manifest(dataclasses.replace(MANIFEST, **change), KEY)
    with pytest.raises(DataLossError, match="acme/r8/versions/3"):
        verify_manifest(envelope, KEYS, **PLACE, number=3)


@pytest.mark.parametrize(
    "change", [{"tenant": "other"}, {"model": "r52"}, {"alias": "canary"}, {"sequence": 2, "previous_sha256": "0" * 64}]
)
def test_the_valid_event_of_another_place_is_refused_by_name(change):
    envelope = sign_alias_record(dataclasses.replace(FIRST, **change), KEY)
    with pytest.raises(DataLossError, match="acme/r8/aliases/prod"):
        verify_alias_event(envelope, KEYS, **PLACE, alias="prod", sequence=1)


@pytest.mark.parametrize(
    "event",
    [
        FIRST,
        dataclasses.replace(SECOND, sequence=3),
        dataclasses.replace(SECOND, previous_sha256="0" * 64),
    ],
)
def test_an_event_that_does_not_continue_the_chain_is_refused(event: AliasRecord):
    with pytest.raises(DataLossError, match="event"):
        verify_alias_event(sign_alias_record(event, KEY), KEYS, **PLACE, alias="prod", previous=FIRST)


def test_an_alias_event_never_passes_for_a_manifest_nor_a_manifest_for_an_event():
    with pytest.raises(DataLossError, match="payloadType"):
        verify_manifest(sign_alias_record(FIRST, KEY), KEYS, **PLACE, number=3)
    with pytest.raises(DataLossError, match="payloadType"):
        verify_alias_event(sign_manifest(MANIFEST, KEY), KEYS, **PLACE, alias="prod")
    relabelled = json.loads(sign_alias_record(FIRST, KEY)) | {"payloadType": VERSION_PAYLOAD_TYPE}
    with pytest.raises(DataLossError, match="trusted"):
        verify_manifest(canonical_json(relabelled), KEYS, **PLACE, number=3)


def test_a_signature_by_a_key_that_is_not_trusted_is_refused():
    with pytest.raises(DataLossError, match="trusted"):
        verify_manifest(sign_manifest(MANIFEST, SigningKey.generate()), KEYS, **PLACE, number=3)


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"payloadType":"x","payload":"","signatures":[]}',
        canonical_json({"payloadType": VERSION_PAYLOAD_TYPE, "payload": "", "signatures": []}),
        canonical_json({"payloadType": VERSION_PAYLOAD_TYPE, "payload": "!", "signatures": []}),
        canonical_json({"payloadType": VERSION_PAYLOAD_TYPE, "payload": 1, "signatures": [{"sig": ""}]}),
        canonical_json({"payloadType": VERSION_PAYLOAD_TYPE, "payload": "", "signatures": [{"sig": "AAAA"}]}),
        canonical_json({"payloadType": VERSION_PAYLOAD_TYPE, "payload": "", "signatures": [{"sig": ""}] * 9}),
        b"[" * 100_000,
    ],
)
def test_what_is_no_signed_envelope_is_refused(envelope: bytes):
    with pytest.raises(DataLossError, match="acme/r8"):
        verify_envelope(envelope, VERSION_PAYLOAD_TYPE, KEYS, what="acme/r8")


def _edited(record: VersionManifest | AliasRecord, **changes: object) -> bytes:
    content = json.loads(record.to_payload()) | changes
    return canonical_json({key: value for key, value in content.items() if value is not ...})


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"format": "dragoman.version/1"},
        {"format": "dragoman.version/3"},
        {"format": "dragoman.version/1", "blake3": []},
        {"blake3": ...},
        {"blake3": []},
        {"blake3": ["0" * 64]},
        {"blake3": ["0" * 63, "0" * 64, "0" * 64]},
        {"blake3": ["0" * 64] * 4},
        {"number": True},
        {"number": "3"},
        {"number": 0},
        {"number": 3.0},
        {"labels": "ab"},
        {"labels": [1]},
        {"root_sha256": "0" * 64},
        {"files": []},
        {"publish_time": "2026-01-02T03:04:05Z"},
        {"publish_time": "2026-13-02T03:04:05.000678Z"},
        {"lineage": {}},
        {"nonce": ...},
        {"files": [{"path": "../x", "size_bytes": 0, "sha256": "0" * 64}]},
    ],
)
def test_a_manifest_with_anything_else_in_it_is_refused_even_when_signed(changes):
    payload = _edited(MANIFEST, **changes)
    with pytest.raises(InvalidArgumentError):
        parse_version_manifest(payload, what="v")
    with pytest.raises(DataLossError):
        verify_manifest(sign_envelope(VERSION_PAYLOAD_TYPE, payload, KEY), KEYS, **PLACE, number=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"format": "x"},
        {"shadow": 1},
        {"candidate": {}},
        {"previous_sha256": "0" * 64},
        {"reason": None},
    ],
)
def test_an_alias_event_with_anything_else_in_it_is_refused(changes):
    with pytest.raises(InvalidArgumentError):
        parse_alias_record(_edited(FIRST, **changes), what="a")


def test_a_payload_has_one_byte_form():
    spaced = json.dumps(json.loads(FIRST.to_payload()), indent=1, ensure_ascii=False).encode()
    assert parse_alias_record(FIRST.to_payload(), what="a") == FIRST
    with pytest.raises(InvalidArgumentError, match="canonical"):
        parse_alias_record(spaced, what="a")


def test_a_model_signature_must_sign_the_manifests_files():
    verify_model_bundle(sign_model("r8", FILES, KEY), KEYS, MANIFEST)
    with pytest.raises(DataLossError, match="other files"):
        verify_model_bundle(sign_model("r8", FILES[:1], KEY), KEYS, MANIFEST)
    with pytest.raises(DataLossError, match="trusted"):
        verify_model_bundle(sign_model("r8", FILES, SigningKey.generate()), KEYS, MANIFEST)
    emptied = json.loads(sign_model("r8", FILES, KEY))
    emptied["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(DataLossError):
        verify_model_bundle(canonical_json(emptied), KEYS, MANIFEST)


def test_a_model_signature_in_which_any_bit_was_flipped_is_refused():
    bundle = sign_model("r8", FILES, KEY)
    for position in range(len(bundle)):
        with pytest.raises(DataLossError, match="acme/r8/versions/3: model signature"):
            verify_model_bundle(
                bundle[:position] + bytes([bundle[position] ^ 1]) + bundle[position + 1 :], KEYS, MANIFEST
            )


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(keyid="x"),
        lambda bundle: bundle["dsseEnvelope"].update(more=1),
        lambda bundle: bundle["verificationMaterial"].update(tlogEntries=[{}]),
        lambda bundle: bundle.update(more=1),
    ],
)
def test_a_model_signature_with_what_no_verifier_reads_is_refused(change):
    bundle = json.loads(sign_model("r8", FILES, KEY))
    verify_model_bundle(canonical_json(bundle), KEYS, MANIFEST)
    change(bundle)
    with pytest.raises(DataLossError, match="not in the form"):
        verify_model_bundle(canonical_json(bundle), KEYS, MANIFEST)


def test_a_folder_with_exactly_the_listed_files_is_accepted(folder: Path):
    verify_files(folder, MANIFEST)


@pytest.mark.parametrize("name", ["added.txt", ".git/config", ".gitattributes", "extra/.hidden", "model.sig"])
def test_an_unlisted_file_is_refused_whatever_its_name(folder: Path, name: str):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(DataLossError, match="not listed"):
        verify_files(folder, MANIFEST)


def test_a_missing_file_is_refused(folder: Path):
    (folder / "extra" / "card.md").unlink()
    with pytest.raises(DataLossError, match=r"card\.md"):
        verify_files(folder, MANIFEST)


@pytest.mark.parametrize("data", [b"Weights", b"weights ", b"weight", b""])
def test_other_bytes_are_refused_by_path(folder: Path, data: bytes):
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(DataLossError, match=r"acme/r8/versions/3/weights\.safetensors"):
        verify_files(folder, MANIFEST)


def test_links_are_refused_even_to_the_right_bytes(folder: Path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "weights").write_bytes(CONTENT["weights.safetensors"])
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to(outside / "weights")
    with pytest.raises(DataLossError, match="link"):
        verify_files(folder, MANIFEST)


def test_a_linked_folder_and_a_pipe_are_refused(folder: Path, tmp_path_factory):
    (folder / "extra" / "card.md").unlink()
    (folder / "extra").rmdir()
    outside = tmp_path_factory.mktemp("outside")
    (outside / "card.md").write_bytes(b"")
    (folder / "extra").symlink_to(outside)
    with pytest.raises(DataLossError, match="link"):
        verify_files(folder, MANIFEST)
    (folder / "extra").unlink()
    os.mkfifo(folder / "extra")
    with pytest.raises(DataLossError, match="plain"):
        verify_files(folder, MANIFEST)


def test_a_stream_is_held_to_the_second_digest_where_there_is_one():
    file, right = FILES[-1], MANIFEST.blake3[-1]
    data = CONTENT[file.path]
    for sent, expected in ((data, file.sha256), (data[::-1], right)):
        check = StreamCheck(file, what="v", blake3_hex=expected)
        check.add(sent)
        with pytest.raises(DataLossError, match="BLAKE3 differs"):
            check.finish()
    check = StreamCheck(file, what="v", blake3_hex=right)
    check.add(data)
    check.finish()


def test_a_stream_is_cut_off_at_the_first_byte_too_many():
    file = FILES[-1]
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"x" * 4

    with pytest.raises(DataLossError, match="longer"):
        verify_chunks(endless(), file, what="acme/r8/versions/3")
    assert len(taken) == 2


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_arbitrary_bytes_are_refused_and_never_crash_a_reader(data: bytes):
    with pytest.raises(DataLossError):
        verify_envelope(data, VERSION_PAYLOAD_TYPE, KEYS, what="v")
    with pytest.raises(DataLossError):
        verify_model_bundle(data, KEYS, MANIFEST)
    for parse in (parse_version_manifest, parse_alias_record):
        with pytest.raises(InvalidArgumentError):
            parse(data, what="v")


@given(st.sampled_from(sorted(json.loads(MANIFEST.to_payload()))), _JSON)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_a_signed_manifest_with_any_value_in_any_key_is_read_strictly(key: str, value: object):
    content = json.loads(MANIFEST.to_payload()) | {key: value}
    payload = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        manifest = parse_version_manifest(payload, what="v")
    except InvalidArgumentError:
        return
    assert manifest.to_payload() == payload
