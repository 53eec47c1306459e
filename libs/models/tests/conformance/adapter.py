# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""This library as the "adapter" that conformance suites of OpenSSF Model Signing drive, for the key method.

    adapter.py verify-model --method key --model-path PATH --public-key PEM --bundle FILE [--ignore-paths PATH]...

Exits with 0 when the signature holds, with 1 when not, with 2 for what it does not do: sign (the registry signs what it
holds, never a folder), other methods, and leaving files out that nobody signed.

Bundles are read by the library. What the product has no use for is here: any folder against its signature, links and
ignored paths included, and keys on the two other curves of the specification.
"""

import argparse
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_models.model_signature import SignedModel, read_signed_model
from dragoman_models.signing import key_id, pre_authentication_encoding

ALWAYS_IGNORED = frozenset({".git", ".gitignore", ".gitattributes", ".github"})
HASHES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
_WHAT = "model signature"


class OneKey:
    """A key on any curve of the specification; what the product trusts is VerifyingKeys."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key

    def signer(self, payload_type: str, payload: bytes, signature: bytes) -> str | None:
        algorithm = HASHES.get(self._key.curve.name)
        if algorithm is None:
            raise DataLossError(f"{_WHAT}: keys on curve {self._key.curve.name} do not count")
        try:
            self._key.verify(signature, pre_authentication_encoding(payload_type, payload), ec.ECDSA(algorithm))
        except InvalidSignature:
            return None
        return key_id(self._key)


def verify_signed_folder(
    path: Path, bundle: bytes, key: ec.EllipticCurvePublicKey, *, ignored: Collection[str] = ()
) -> SignedModel:
    """Check that a model is what its signature says, neither more nor less.

    Args:
        path: A folder, or the single file that is the model.
        bundle: The signature file.
        key: Whose signature counts.
        ignored: Paths below the folder that need not be signed, beside those that the signer left out.

    Returns:
        What was signed.

    Raises:
        DataLossError: the signature does not hold, a file is missing, has other bytes, is a link or was not signed.
    """
    signed = read_signed_model(bundle, OneKey(key))
    if stat.S_ISREG(path.lstat().st_mode):
        # Before 1.1 a model of one file was signed under the name of its folder.
        listed = {path.name if name == "." else name: digest for name, digest in signed.files.items()}
        found = {path.name: path}
    else:
        listed = dict(signed.files)
        found = dict(_files(path, signed.ignored | ALWAYS_IGNORED | frozenset(ignored)))
    if difference := sorted(listed.keys() ^ found.keys()):
        state = "is not signed" if difference[0] in found else "is missing"
        raise DataLossError(f"{_WHAT}: {difference[0][:200]!r} {state}")
    for name, expected in listed.items():
        if _sha256(found[name]) != expected:
            raise DataLossError(f"{_WHAT}: the bytes of {name[:200]!r} are not those that were signed")
    return signed


def _files(root: Path, ignored: frozenset[str]) -> Iterator[tuple[str, Path]]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if path in ignored:
                    continue
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append(f"{path}/")
                elif stat.S_ISREG(mode):
                    yield path, root / path
                else:
                    raise DataLossError(f"{_WHAT}: {path[:200]!r} is a link or no plain file")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(given: argparse.Namespace) -> None:
    root: Path = given.model_path
    inside = [path for path in (*given.ignore_paths, given.bundle) if path.is_relative_to(root)]
    key = serialization.load_pem_public_key(given.public_key.read_bytes())
    verify_signed_folder(
        root, given.bundle.read_bytes(), key, ignored=[path.relative_to(root).as_posix() for path in inside]
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["verify-model"])
    parser.add_argument("--method", choices=["key"], required=True)
    for name in ("--model-path", "--bundle", "--public-key"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--ignore-paths", type=Path, action="append", default=[])
    given = parser.parse_args()
    try:
        verify(given)
    except (DragomanError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
