# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Keys, envelopes, and the model signature that the real model_signing package accepts."""

import base64
import hashlib
import json
from pathlib import Path

import model_signing
import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.file_digest import FileDigest, check_files, root_sha256
from dragoman_models.signing import (
    SigningKey,
    pre_authentication_encoding,
    sign_model,
)
from dragoman_models.verify import VerifyingKeys


def digest_of(path: str, content: bytes) -> FileDigest:
    return FileDigest(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, tuple[FileDigest, ...]]:
    # The names sort differently as whole strings ("a-b/x" before "a/x") than segment by segment.
    content = {"model.json": b"{}", "weights.safetensors": b"\0" * 2_000_000, "a/x": b"1", "a-b/x": b"2", "a.b": b""}
    folder = tmp_path / "model"
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder, check_files(digest_of(path, data) for path, data in content.items())


def test_pre_authentication_encoding_equals_the_example_of_the_dsse_specification():
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_model_signature_is_accepted_by_model_signing_and_only_for_these_bytes(tmp_path: Path, model):
    folder, files = model
    key = SigningKey.generate()
    key.save(tmp_path / "key.pem", tmp_path / "key.pub")
    (tmp_path / "model.sig").write_bytes(sign_model("r8", files, key))

    def verify() -> None:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pub").verify(
            folder, tmp_path / "model.sig"
        )

    verify()
    (folder / "a" / "x").write_bytes(b"3")
    with pytest.raises(ValueError, match="a/x"):
        verify()


def test_the_root_digest_is_the_one_that_model_signing_computes(tmp_path: Path, model):
    folder, files = model
    key = SigningKey.generate()
    key.save(tmp_path / "key.pem", tmp_path / "key.pub")
    signature = tmp_path / "theirs.sig"
    model_signing.signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem").sign(folder, signature)
    statement = json.loads(base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == root_sha256(files)
    assert [item["name"] for item in statement["predicate"]["resources"]] == [file.path for file in files]


def test_a_key_survives_save_and_load_and_is_private_on_disk(tmp_path: Path):
    key = SigningKey.generate()
    key.save(tmp_path / "key.pem", tmp_path / "key.pub")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    signature = SigningKey.load(tmp_path / "key.pem").sign("t", b"payload")
    assert VerifyingKeys.load(tmp_path / "key.pub").signer("t", b"payload", signature) == key.key_id
    with pytest.raises(FileExistsError):
        SigningKey.generate().save(tmp_path / "key.pem", tmp_path / "other.pub")


def test_a_key_file_may_hold_several_public_keys(tmp_path: Path):
    keys = [SigningKey.generate() for _ in range(3)]
    for index, key in enumerate(keys):
        key.save(tmp_path / f"{index}.pem", tmp_path / f"{index}.pub")
    (tmp_path / "all.pub").write_text("".join((tmp_path / f"{index}.pub").read_text() for index in range(3)))
    trusted = VerifyingKeys.load(tmp_path / "all.pub")
    assert all(trusted.signer("t", b"x", key.sign("t", b"x")) for key in keys)
    assert not trusted.signer("t", b"x", SigningKey.generate().sign("t", b"x"))


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_an_unusable_key_file_is_refused_by_its_name(tmp_path: Path, content: bytes):
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=r"key\.pem"):
        SigningKey.load(tmp_path / "key.pem")
    with pytest.raises(InvalidArgumentError):
        VerifyingKeys.load(tmp_path / "key.pem")


def test_a_key_on_another_curve_is_refused(tmp_path: Path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(InvalidArgumentError, match="P-256"):
        SigningKey.load(tmp_path / "key.pem")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        ".git/config",
        "a\\b",
        "a\0b",
        "-rf",
        "$(x)",
        "a\n",
        "\uff41",
        "%2e%2e",
        "a" * 256,
        "a/.hidden",
        "a..b",
        "\u2024\u2024/x",
    ],
)
def test_a_path_that_could_leave_the_folder_or_hide_in_it_is_refused(path: str):
    with pytest.raises(InvalidArgumentError):
        check_files([digest_of(path, b"")])


@pytest.mark.parametrize("paths", [("a", "a"), ("A", "a"), ("a", "a/b"), ("A/b", "a"), ()])
def test_paths_that_clash_on_some_file_system_are_refused(paths: tuple[str, ...]):
    with pytest.raises(InvalidArgumentError):
        check_files([digest_of(path, b"") for path in paths])
