# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets of a recipe that are in the store: fetched before training, each byte checked, a folder whole or absent.

recipe -> stored? -> list of files -> does the digest follow from it? -> files, hashed as they stream -> rename
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from dragoman_common.atomic import sync_folder
from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from dragoman_models.data_set import StoredName, check_data_files, data_sha256
from dragoman_models.file_digest import FileDigest
from dragoman_models.verify_files import StreamCheck
from dragoman_trainer.ports import DataSource
from dragoman_trainer.recipe import Recipe

logger = logging.getLogger(__name__)


def data_folders(recipe: Recipe, local: Path, fetched: Path, source: DataSource | None) -> tuple[Path, Path]:
    """Return where the recipe's data set lies, and where its vectors do, each in a folder of its own name.

    Args:
        recipe: What is wanted.
        local: Where the data sets lie that are not in the store.
        fetched: Where to put the others.
        source: The store.

    Raises:
        FailedPreconditionError: the store is wanted and there is none.
        DragomanError: see fetch.
    """
    folders = []
    for stored in (recipe.data.stored, recipe.rnn.stored_vectors if recipe.rnn is not None else None):
        if stored is None:
            folders.append(local)
            continue
        if source is None:
            raise FailedPreconditionError(f"{stored} is in the registry's store, and this run has no REGISTRY_TARGET")
        fetch(stored, fetched, source)
        folders.append(fetched)
    return folders[0], folders[1]


def fetch(stored: StoredName, target: Path, source: DataSource) -> None:
    """Put a data set into ``<target>/<name>``, unless an earlier call of this run has.

    Raises:
        DataLossError: what comes is not what the digest says.
        DragomanError: what the store answered.
    """
    folder = target / stored.name
    if folder.exists():
        return
    sha256, files = _listed(stored, source)
    target.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".data-", dir=target))
    try:
        for file in files:
            check = StreamCheck(file, what=str(stored))
            with (partial / file.path).open("xb") as opened:
                for piece in source.read(stored.name, sha256, file):
                    check.add(piece)
                    opened.write(piece)
                check.finish()
                opened.flush()
                os.fsync(opened.fileno())
        partial.rename(folder)
        sync_folder(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    num_bytes = sum(file.size_bytes for file in files)
    logger.info("data set fetched", extra={"data_set": stored.name, "sha256": sha256, "bytes": num_bytes})


def _listed(stored: StoredName, source: DataSource) -> tuple[str, tuple[FileDigest, ...]]:
    sha256, files = source.files(stored)
    try:
        files = check_data_files(files)
    except InvalidArgumentError as error:
        raise DataLossError(f"{stored}: {error.message}") from error
    if stored.sha256 not in ("", sha256) or data_sha256(files) != sha256:
        raise DataLossError(f"{stored}: the list of files that came is of another data set")
    return sha256, files
