# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The official vectors of OpenSSF Model Signing for the key method: valid ones are accepted, all others refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_common.errors import DataLossError
from dragoman_models.model_signature import read_signed_model
from dragoman_models.signing import SigningKey
from libs.models.tests.conformance.adapter import OneKey, verify_signed_folder

DATA = Path(__file__).parent / "data"
KEY_FILE = DATA / "historical" / "key.pub"
KEY = serialization.load_pem_public_key(KEY_FILE.read_bytes())
TRUSTED = OneKey(KEY)
VERSIONS = sorted(folder.name for folder in (DATA / "historical").iterdir() if folder.is_dir())
SCHEMA = sorted((DATA / "schema").rglob("*.json"))
VALID = DATA / "schema" / "valid" / "key.bundle.json"
LEFT_OUT = "ignore-me"


@pytest.fixture(params=VERSIONS)
def vector(request, tmp_path) -> tuple[Path, bytes]:
    """A model that may be changed, and its signature; before 1.0.1 a model of one file was signed as the file."""
    source = DATA / "historical" / request.param
    model = tmp_path / request.param
    shutil.copytree(source / "model", model)
    is_file = [path.name for path in model.iterdir()] == ["signme-1"]
    return model / "signme-1" if is_file else model, (source / "model.sig").read_bytes()


def test_there_are_the_vectors_that_the_readme_names():
    assert VERSIONS == ["v0.3.1", "v1.0.0", "v1.0.1", "v1.1.0"]
    assert len(SCHEMA) == 8


def test_a_valid_vector_is_accepted_and_the_reference_implementation_agrees(vector, tmp_path):
    model, bundle = vector
    signed = verify_signed_folder(model, bundle, KEY, ignored=[LEFT_OUT])
    assert set(signed.files) <= {".", "signme-1", "signme-2"}
    (tmp_path / "model.sig").write_bytes(bundle)
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=KEY_FILE)
    config.set_hashing_config(
        model_signing.hashing.Config().set_ignored_paths(paths=[model / LEFT_OUT] if model.is_dir() else [])
    ).verify(model, tmp_path / "model.sig")


def test_a_changed_file_is_refused(vector):
    model, bundle = vector
    file = model / "signme-1" if model.is_dir() else model
    file.write_bytes(b"signme-2\n")
    with pytest.raises(DataLossError, match="signme-1"):
        verify_signed_folder(model, bundle, KEY, ignored=[LEFT_OUT])


FOLDERS = pytest.mark.parametrize("vector", ["v1.0.1", "v1.1.0"], indirect=True)


@FOLDERS
@pytest.mark.parametrize("name", ["extra.bin", "sub/extra.bin", ".hidden", "sub/.git"])
def test_a_file_that_was_not_signed_is_refused(vector, name):
    model, bundle = vector
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")
    with pytest.raises(DataLossError, match="is not signed"):
        verify_signed_folder(model, bundle, KEY, ignored=[LEFT_OUT])


@FOLDERS
def test_a_missing_file_is_refused(vector):
    model, bundle = vector
    (model / "signme-2").unlink()
    with pytest.raises(DataLossError, match="'signme-2' is missing"):
        verify_signed_folder(model, bundle, KEY, ignored=[LEFT_OUT])


def test_another_key_is_refused(vector):
    model, bundle = vector
    with pytest.raises(DataLossError, match="trusted key"):
        verify_signed_folder(model, bundle, SigningKey.generate().public_key, ignored=[LEFT_OUT])


def test_a_bundle_without_its_hint_still_needs_the_right_signature(vector):
    model, bundle = vector
    content = json.loads(bundle)
    content["verificationMaterial"]["publicKey"] = {"hint": None, "rawBytes": None}
    with pytest.raises(DataLossError, match="neither hint nor rawBytes"):
        verify_signed_folder(model, json.dumps(content).encode(), KEY)


@pytest.mark.parametrize("path", SCHEMA, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_of_the_schema_vectors_the_valid_one_by_a_key_is_accepted(path, tmp_path):
    if path == VALID:
        assert set(read_signed_model(path.read_bytes(), TRUSTED).files) == {"signme-1", "signme-2"}
        return
    with pytest.raises(DataLossError, match="model signature"):
        read_signed_model(path.read_bytes(), TRUSTED)


def test_a_flipped_bit_in_any_byte_that_says_something_is_refused():
    content = json.loads(VALID.read_bytes())
    compact = json.dumps(content, separators=(",", ":")).encode()
    accepted = []
    for position in range(len(compact)):
        data = compact[:position] + bytes([compact[position] ^ 1]) + compact[position + 1 :]
        try:
            read_signed_model(data, TRUSTED)
        except DataLossError:
            continue
        accepted.append(position)
    # What no verifier reads: the names of tlogEntries and keyid.
    unread = {*_span(compact, b'"tlogEntries":[]'), *_span(compact, b'"keyid":""')}
    assert set(accepted) <= unread


def _span(data: bytes, part: bytes) -> range:
    start = data.index(part)
    return range(start, start + len(part))


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_arbitrary_bytes_are_refused_and_never_crash(data):
    with pytest.raises(DataLossError):
        read_signed_model(data, TRUSTED)


@pytest.mark.parametrize(("name", "code"), [("v1.1.0", 0), ("v1.0.1", 0), ("v1.0.0", 1)])
def test_the_adapter_for_conformance_suites_answers_by_its_exit_code(name, code):
    folder = DATA / "historical" / name
    # The folder of 1.0.0 was signed as its one file.
    command = [Path(__file__).with_name("adapter.py"), "verify-model", "--method", "key", "--public-key", KEY_FILE]
    command += ["--model-path", folder / "model", "--bundle", folder / "model.sig"]
    command += ["--ignore-paths", folder / "model" / LEFT_OUT]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
