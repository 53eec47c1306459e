# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Models of every layout between the reference implementation and this one, in both directions; and what neither takes.

The cases are those that the conformance suites list; the bundles are made here, with keys of the run.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import model_signing
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.errors import DataLossError
from dragoman_models.file_digest import FileDigest, check_files
from dragoman_models.signing import SigningKey, pre_authentication_encoding, public_pem, sign_model
from libs.models.tests.conformance.adapter import verify_signed_folder

PLAIN = {
    "two files": {"config.json": b"{}", "weights.bin": b"\1\2"},
    "nested": {"weights.bin": b"w", "a/b/c/deep.bin": b"d", "a/top.bin": b"t"},
    "names that sort apart": {"a/x": b"1", "a-b/x": b"2", "a.b": b"3", "B": b"4", "a0": b"5"},
    "empty file": {"empty.bin": b"", "weights.bin": b"w"},
    "one file": {"model.bin": b"m"},
    "binary": {"header.bin": bytes(range(256)), "zeros.bin": bytes(3 << 20)},
}
ODD = {
    "hidden": {".config": b"c", ".cache/weights.bin": b"w", "model.bin": b"m"},
    "git files in subfolders": {"sub/.git/config": b"c", "sub/.gitignore": b"i", "model.bin": b"m"},
    "spaces and brackets": {"file (copy).bin": b"f", "path with spaces/model.bin": b"m", "a[1]*.bin": b"a"},
    "unicode": {"größe/模型.bin": b"m", "\U0001f600.bin": b"e"},
}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def write(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def key_on(tmp_path) -> Callable[[ec.EllipticCurve], ec.EllipticCurvePrivateKey]:
    def make(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(curve)
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (tmp_path / "key.pub").write_bytes(public_pem(key.public_key()))
        return key

    return make


def signed_by_reference(tmp_path: Path, model: Path, hashing: model_signing.hashing.Config | None = None) -> bytes:
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem")
    if hashing:
        config.set_hashing_config(hashing)
    config.sign(model, tmp_path / "model.sig")
    return (tmp_path / "model.sig").read_bytes()


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("layout", [*PLAIN, *ODD])
def test_what_the_reference_signs_is_accepted_here_and_only_unchanged(tmp_path, key_on, layout, curve):
    key = key_on(CURVES[curve]).public_key()
    content = (PLAIN | ODD)[layout]
    model = write(tmp_path / "model", content)
    bundle = signed_by_reference(tmp_path, model)
    assert set(verify_signed_folder(model, bundle, key).files) == set(content)
    for name, data in content.items():
        (model / name).write_bytes(data + b"\0")
        with pytest.raises(DataLossError, match="not those that were signed"):
            verify_signed_folder(model, bundle, key)
        (model / name).unlink()
        with pytest.raises(DataLossError, match="is missing"):
            verify_signed_folder(model, bundle, key)
        (model / name).write_bytes(data)
    verify_signed_folder(model, bundle, key)


@pytest.mark.parametrize("layout", PLAIN)
def test_what_is_signed_here_is_accepted_by_the_reference_and_only_unchanged(tmp_path, layout):
    key = SigningKey.generate()
    key.save(tmp_path / "key.pem", tmp_path / "key.pub")
    model = write(tmp_path / "model", PLAIN[layout])
    files = check_files(
        FileDigest(path=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in PLAIN[layout].items()
    )
    (tmp_path / "model.sig").write_bytes(sign_model("r8", files, key))

    def verify() -> None:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pub").verify(
            model, tmp_path / "model.sig"
        )

    verify()
    verify_signed_folder(model, (tmp_path / "model.sig").read_bytes(), key.public_key)
    write(model, {"added.bin": b""})
    with pytest.raises(ValueError, match=r"added\.bin"):
        verify()


def test_git_files_at_the_top_are_never_signed_and_never_looked_at(tmp_path, key_on):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m", ".git/config": b"[core]", ".gitattributes": b""})
    bundle = signed_by_reference(tmp_path, model)
    assert set(verify_signed_folder(model, bundle, key).files) == {"model.bin"}


def test_a_path_that_the_signer_left_out_may_be_there(tmp_path, key_on):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m", "cache/x": b"x", "sub/cache": b"y"})
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[model / "cache"])
    bundle = signed_by_reference(tmp_path, model, hashing)
    assert set(verify_signed_folder(model, bundle, key).files) == {"model.bin", "sub/cache"}
    write(model, {"cache/y": b"y"})
    verify_signed_folder(model, bundle, key)
    write(model, {"cached": b"y"})
    with pytest.raises(DataLossError, match="'cached' is not signed"):
        verify_signed_folder(model, bundle, key)


def test_a_signature_inside_of_the_folder_is_named_by_the_caller(tmp_path, key_on):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m"})
    bundle = signed_by_reference(tmp_path, model)
    (model / "model.sig").write_bytes(bundle)
    verify_signed_folder(model, bundle, key, ignored=["model.sig"])


@pytest.mark.parametrize("target", ["model.bin", "/etc/hostname", ".", "nowhere"])
def test_links_are_refused(tmp_path, key_on, target):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m"})
    bundle = signed_by_reference(tmp_path, model)
    (model / "link").symlink_to(target)
    with pytest.raises(DataLossError, match="link"):
        verify_signed_folder(model, bundle, key)


def test_shards_are_refused_by_name(tmp_path, key_on):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": bytes(1000)})
    hashing = model_signing.hashing.Config().use_shard_serialization(shard_size=100)
    with pytest.raises(DataLossError, match="only whole files"):
        verify_signed_folder(model, signed_by_reference(tmp_path, model, hashing), key)


def statement_of(bundle: dict[str, object]) -> dict[str, object]:
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


CHANGES: dict[str, Callable[[dict], object]] = {
    "no resources": lambda s: s["predicate"].update(resources=[]),
    "no predicate": lambda s: s.pop("predicate"),
    "no subject": lambda s: s.update(subject=[]),
    "two subjects": lambda s: s.update(subject=s["subject"] * 2),
    "another predicate": lambda s: s.update(predicateType="https://example.com/v1"),
    "another statement": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "another root": lambda s: s["subject"][0].update(digest={"sha256": "0" * 64}),
    "another hash": lambda s: s["predicate"]["serialization"].update(hash_type="blake2b"),
    "links": lambda s: s["predicate"]["serialization"].update(allow_symlinks=True),
    "a path out": lambda s: s["predicate"]["resources"][0].update(name="../x"),
    "an absolute path": lambda s: s["predicate"]["resources"][0].update(name="/x"),
    "a digest of another kind": lambda s: s["predicate"]["resources"][0].update(algorithm="sha512"),
    "a file twice": lambda s: s["predicate"].update(resources=s["predicate"]["resources"] * 2),
    "ignored paths that are none": lambda s: s["predicate"]["serialization"].update(ignore_paths=[1]),
    "the file ignored": lambda s: s["predicate"]["serialization"].update(ignore_paths=["model.bin"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_statement_of_another_kind_is_refused_however_well_signed(tmp_path, key_on, change):
    key = key_on(ec.SECP256R1())
    model = write(tmp_path / "model", {"model.bin": b"m"})
    bundle = json.loads(signed_by_reference(tmp_path, model))
    statement = statement_of(bundle)

    def signed() -> bytes:
        payload = json.dumps(statement).encode()
        message = pre_authentication_encoding("application/vnd.in-toto+json", payload)
        bundle["dsseEnvelope"] |= {
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode()}],
        }
        return json.dumps(bundle).encode()

    verify_signed_folder(model, signed(), key.public_key())
    CHANGES[change](statement)
    with pytest.raises(DataLossError):
        verify_signed_folder(model, signed(), key.public_key())


BROKEN: dict[str, Callable[[dict], object]] = {
    "another media type": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v0.1+json"),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2),
    "another payload type": lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
    "a certificate": lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": ""}}),
    "no envelope": lambda b: b.pop("dsseEnvelope"),
    "another key's hint": lambda b: b["verificationMaterial"].update(publicKey={"hint": "0" * 64}),
}


@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_bundle_is_refused(tmp_path, key_on, change):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m"})
    data = signed_by_reference(tmp_path, model)
    bundle = json.loads(data)
    BROKEN[change](bundle)
    for broken in (json.dumps(bundle).encode(), data[:-20], b"", b"[]"):
        with pytest.raises(DataLossError):
            verify_signed_folder(model, broken, key)


@pytest.mark.parametrize("keyid", ["absent", "", None])
def test_a_keyid_says_nothing(tmp_path, key_on, keyid):
    key = key_on(ec.SECP256R1()).public_key()
    model = write(tmp_path / "model", {"model.bin": b"m"})
    bundle = json.loads(signed_by_reference(tmp_path, model))
    [signature] = bundle["dsseEnvelope"]["signatures"]
    if keyid == "absent":
        signature.pop("keyid", None)
    else:
        signature["keyid"] = keyid
    verify_signed_folder(model, json.dumps(bundle).encode(), key)


def test_a_key_on_another_curve_is_refused(tmp_path, key_on):
    key_on(ec.SECP256R1())
    model = write(tmp_path / "model", {"model.bin": b"m"})
    bundle = json.loads(signed_by_reference(tmp_path, model))
    other = ec.generate_private_key(ec.SECP256K1()).public_key()
    hint = hashlib.sha256(public_pem(other)).hexdigest()
    bundle["verificationMaterial"]["publicKey"] = {"hint": hint}
    with pytest.raises(DataLossError, match="curve"):
        verify_signed_folder(model, json.dumps(bundle).encode(), other)
