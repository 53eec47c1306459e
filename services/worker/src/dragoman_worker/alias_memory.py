# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The newest event of each alias that the node's workers have verified, on the disk: a worker that starts knows it.

Owns the files, ``aliases/<digest of the alias's name>.<sequence>`` in the cache folder, each a signed envelope, and
verifies them again when it reads them: who can write there can make a worker forget, not believe. Workers share them; a
lower sequence never replaces a higher one, unless its loss was accepted. Blocking; callers run it in a thread.
"""

import hashlib
import logging
from pathlib import Path

from dragoman_common.atomic import write_atomic
from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_models.record import ALIAS_PAYLOAD_TYPE, AliasRecord, parse_alias_record
from dragoman_models.verify import MAX_ENVELOPE_BYTES, VerifyingKeys, verify_envelope
from dragoman_worker.ports import AliasKey

logger = logging.getLogger(__name__)

MAX_ALIASES = 10_000


class AliasMemory:
    """See the module's docstring."""

    def __init__(self, folder: Path, keys: VerifyingKeys) -> None:
        """Name the cache folder."""
        self._folder = folder / "aliases"
        self._keys = keys

    def recall(self) -> list[tuple[AliasRecord, bytes]]:
        """Return the newest verified event of each alias, and its envelope; what does not verify is left out."""
        newest: dict[AliasKey, tuple[AliasRecord, bytes]] = {}
        for name in self._names()[: 2 * MAX_ALIASES]:
            try:
                record, envelope = self._read(name)
            except FileNotFoundError:
                # A newer one took its place.
                continue
            except (DataLossError, InvalidArgumentError, OSError) as error:
                logger.warning("remembered alias event not believed", extra={"file": name[:100], "error": str(error)})
                continue
            key = (record.tenant, record.model, record.alias)
            if key not in newest or newest[key][0].sequence < record.sequence:
                newest[key] = (record, envelope)
        return list(newest.values())[:MAX_ALIASES]

    def remember(self, record: AliasRecord, envelope: bytes, *, is_past_loss: bool = False) -> None:
        """Keep a verified event, and let go of those before it.

        Args:
            record: The event.
            envelope: As it was signed; another key's signature on the same event replaces the one that is there.
            is_past_loss: Let go of those after it, too: an operator accepted their loss.

        Raises:
            OSError: the disk is full, for example.
        """
        stem = _stem(record)
        name = f"{stem}.{record.sequence}"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = self._names()
        if name not in names and len(names) >= 2 * MAX_ALIASES:
            return
        if name not in names or (self._folder / name).read_bytes() != envelope:
            write_atomic(self._folder / name, envelope)
        for other in names:
            if other == name or not other.startswith(f"{stem}."):
                continue
            if is_past_loss or int(other.removeprefix(f"{stem}.")) < record.sequence:
                (self._folder / other).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        try:
            found = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        # The rest are temporary files of a writer that died.
        return sorted(name for name in found if not name.startswith(".") and name.rpartition(".")[2].isdecimal())

    def _read(self, name: str) -> tuple[AliasRecord, bytes]:
        with (self._folder / name).open("rb") as file:
            envelope = file.read(MAX_ENVELOPE_BYTES + 1)
        what = f"aliases/{name[:100]}"
        record = parse_alias_record(verify_envelope(envelope, ALIAS_PAYLOAD_TYPE, self._keys, what=what), what=what)
        if name != f"{_stem(record)}.{record.sequence}":
            raise DataLossError(f"{what}: holds another alias's event")
        return record, envelope


def _stem(record: AliasRecord) -> str:
    return hashlib.sha256(f"{record.tenant}/{record.model}/{record.alias}".encode()).hexdigest()
