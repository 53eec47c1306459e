# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles carry a version between sites; nothing is published from one that does not hold in every byte."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dragoman_client.bundle import read_bundle
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def key_file(tmp_path: Path, platform: Any) -> Path:
    platform.registry.key.save(tmp_path / "private.pem", tmp_path / "public.pem")
    return tmp_path / "public.pem"


@pytest.fixture
async def bundle(platform: Any, tmp_path: Path, key_file: Path) -> Path:
    await platform.dragoman("approve", "r8", "2")
    (tmp_path / "m.json").write_text(
        '{"format": "dragoman.measurement/1", "hardware": "x", "rows_per_call": 1,'
        ' "num_calls": 100, "p50_us": 1, "p99_us": 2}'
    )
    await platform.dragoman("evidence", "add", "r8", "2", "measurement", str(tmp_path / "m.json"))
    path = tmp_path / "r8.tar"
    await platform.json("export", "r8", "2", str(path), "--key", str(key_file))
    return path


def rewrite(path: Path, change: Callable[[Members], Members]) -> Path:
    with tarfile.open(path) as tar:
        members = [(item, (tar.extractfile(item) or io.BytesIO()).read()) for item in tar]
    changed = path.with_name("changed.tar")
    with tarfile.open(changed, "w") as tar:
        for item, data in change(members):
            item.size = len(data) if item.isreg() else 0
            tar.addfile(item, io.BytesIO(data))
    return changed


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item


def flipped(name: str) -> Callable[[Members], Members]:
    return lambda members: [
        (item, data[:-1] + bytes([data[-1] ^ 1]) if item.name.startswith(name) else data) for item, data in members
    ]


BROKEN: dict[str, Callable[[Members], Members]] = {
    "a flipped bit in a file": flipped("files/weights"),
    "a flipped bit in the manifest": flipped("manifest.json"),
    "a flipped bit in the signature": flipped("model.sig"),
    "a flipped bit in evidence": flipped("evidence/"),
    "a file that is missing": lambda members: [m for m in members if m[0].name != "files/model.json"],
    "a file that is not listed": lambda members: [*members, (named("files/more"), b"x")],
    "a hidden file": lambda members: [*members, (named("files/.git/config"), b"x")],
    "a way out": lambda members: [*members, (named("../escaped"), b"x")],
    "an absolute path": lambda members: [*members, (named("/escaped"), b"x")],
    "a symbolic link": lambda members: [*members, (named("files/link", tarfile.SYMTYPE, "model.json"), b"")],
    "a hard link": lambda members: [*members, (named("files/link", tarfile.LNKTYPE, "files/model.json"), b"")],
    "a listed file as a link": lambda members: [
        (named(item.name, tarfile.SYMTYPE, "/etc/hostname"), b"") if item.name == "files/model.json" else (item, data)
        for item, data in members
    ],
    "a device": lambda members: [*members, (named("files/null", tarfile.CHRTYPE), b"")],
    "a file twice": lambda members: [*members, (named("files/model.json"), b"[]")],
    "evidence under another name": lambda members: (
        [
            (named("evidence/" + "0" * 64 + ".json") if item.name.startswith("evidence/") else item, data)
            for item, data in members[:5]
        ]
        + members[5:]
    ),
    "another number": lambda members: [
        (item, data.replace(b'"number":2', b'"number":3') if item.name == "bundle.json" else data)
        for item, data in members
    ],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_bundle_that_does_not_hold_is_refused_and_nothing_is_published(
    platform: Any, bundle: Path, key_file: Path, name: str
) -> None:
    broken = rewrite(bundle, BROKEN[name])
    result = await platform.dragoman("import", str(broken), "--key", str(key_file))
    assert result.exit_code in {2, 12}, result.output
    assert platform.registry.published == {}


@pytest.mark.parametrize("text", [b"", b"not a tar", b"\x1f\x8b" + bytes(100)])
async def test_what_is_no_bundle_is_refused(platform: Any, tmp_path: Path, key_file: Path, text: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(text)
    result = await platform.dragoman("import", str(tmp_path / "x.tar"), "--key", str(key_file))
    assert result.exit_code == 2, result.output


def test_a_bundle_cut_anywhere_is_refused(bundle: Path, platform: Any) -> None:
    keys = VerifyingKeys([platform.registry.key.public_key])
    data = bundle.read_bytes()
    content_end = len(data.rstrip(b"\0"))
    for end in range(0, content_end, 997):
        bundle.write_bytes(data[:end])
        with pytest.raises((DataLossError, InvalidArgumentError)):
            read_bundle(bundle, keys)


def test_another_sites_key_opens_no_bundle(bundle: Path) -> None:
    with pytest.raises(DataLossError, match="trusted"):
        read_bundle(bundle, VerifyingKeys([SigningKey.generate().public_key]))


async def test_import_publishes_the_same_bytes_and_brings_what_was_measured(
    platform: Any, bundle: Path, key_file: Path
) -> None:
    platform.registry.evidence.clear()
    [document] = await platform.json("import", str(bundle), "--key", str(key_file), "--model", "r8")
    assert platform.registry.published == platform.registry.contents
    assert [item.kind for item in platform.registry.evidence] == ["measurement"]
    assert (document["origin"]["number"], document["num_evidence"]) == (2, 1)


async def test_equal_versions_give_equal_bundles_and_none_is_overwritten(
    platform: Any, bundle: Path, key_file: Path, tmp_path: Path
) -> None:
    result = await platform.dragoman("export", "r8", "2", str(bundle), "--key", str(key_file))
    assert (result.exit_code, "exists already" in result.stderr) == (7, True)
    with tarfile.open(bundle) as tar:
        assert {(item.mtime, item.uid, item.uname, item.mode) for item in tar} == {(0, 0, "", 0o644)}
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []  # noqa: PTH208 - a test may wait


async def test_a_version_that_does_not_verify_is_not_exported(platform: Any, tmp_path: Path, key_file: Path) -> None:
    platform.registry.contents["model.json"] = b"[]"
    result = await platform.dragoman("export", "r8", "2", str(tmp_path / "x.tar"), "--key", str(key_file))
    assert result.exit_code == 12
    assert not (tmp_path / "x.tar").exists()
