# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version checked from outside: nothing that the registry says is believed beyond what its signatures carry.

    GetVersion -> manifest, model signature, tombstone     ListAliasEvents -> every chain from its first event
    ListEvidence -> every record                           DownloadFile -> a folder -> exactly the listed files
    every move to the version -> the policy and the evidence that its gate judged (gate_check)

With the model_signing package installed, its own verification of the folder is run too.
"""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dragoman.registry.v1 import registry_pb2
from dragoman_client.gate_check import GateCheck
from dragoman_client.registry_operator import RegistryOperator
from dragoman_common.errors import DataLossError, NotFoundError
from dragoman_models.evidence import verify_evidence
from dragoman_models.file_digest import check_path
from dragoman_models.record import AliasRecord, VersionManifest
from dragoman_models.tombstone import verify_tombstone
from dragoman_models.verify import VerifyingKeys, verify_alias_event, verify_manifest, verify_model_bundle
from dragoman_models.verify_files import verify_files

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"
SIGNATURE_FILE = "model.sig"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    detail: str


class VersionCheck:
    """Checks one version of one tenant; collects what holds and what does not."""

    def __init__(
        self, registry: RegistryOperator, keys: VerifyingKeys, *, tenant: str, model: str, number: int
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._tenant = tenant
        self._model = model
        self._number = number
        self._gate_check = GateCheck(registry, keys, tenant=tenant, model=model)
        self.checks: list[Check] = []

    async def run(self, folder: Path, public_key_file: Path) -> VersionManifest | None:
        """Check everything.

        Args:
            folder: Empty; the files are downloaded to folder/model, the model signature beside it.
            public_key_file: One PEM public key, for model_signing.

        Returns:
            The manifest, None when its signature does not hold: nothing else is then worth asking.

        Raises:
            DragomanError: the registry does not answer, or refuses.
        """
        version = await self._registry.version(self._model, self._number)
        manifest = self._manifest(version)
        if manifest is None:
            return None
        self._check("model signature", lambda: verify_model_bundle(version.signature_bundle, self._keys, manifest))
        await self._chains(manifest)
        await self._evidence(manifest)
        if version.HasField("tombstone"):
            self._check("tombstone", lambda: self._tombstone(version.tombstone))
            self.checks.append(Check(name="files", state=SKIPPED, detail="the version is withdrawn"))
            return manifest
        model_folder = folder / "model"
        await self._download(manifest, model_folder)
        self._check("files", lambda: _files(model_folder, manifest))
        signature = folder / SIGNATURE_FILE
        signature.write_bytes(version.signature_bundle)
        self._model_signing(model_folder, signature, public_key_file)
        return manifest

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return all(check.state != FAILED for check in self.checks)

    def _manifest(self, version: registry_pb2.ModelVersion) -> VersionManifest | None:
        found: list[VersionManifest] = []

        def check() -> str:
            manifest = verify_manifest(
                version.manifest.envelope, self._keys, tenant=self._tenant, model=self._model, number=self._number
            )
            found.append(manifest)
            return f"{manifest.root_sha256}, published by {manifest.publisher}"

        self._check("manifest", check)
        return found[0] if found else None

    async def _chains(self, manifest: VersionManifest) -> None:
        for alias in await self._registry.aliases(self._model):
            events = await self._registry.alias_events(self._model, alias)
            moves: list[AliasRecord] = []

            def check(
                alias: str = alias, events: list[registry_pb2.AliasEvent] = events, moves: list[AliasRecord] = moves
            ) -> str:
                previous: AliasRecord | None = None
                for sequence, event in enumerate(events, start=1):
                    previous = verify_alias_event(
                        event.record.envelope,
                        self._keys,
                        tenant=self._tenant,
                        model=self._model,
                        alias=alias,
                        previous=previous,
                        sequence=sequence,
                    )
                    named = (previous.stable_version, previous.stable_root_sha256)
                    if named[0] == manifest.number and named[1] != manifest.root_sha256:
                        raise DataLossError(f"event {sequence} of {alias} names other content for this version")
                    if named[0] == manifest.number:
                        moves.append(previous)
                return f"{len(events)} events"

            self._check(f"alias {alias}", check)
            if any(move.gate for move in moves):
                await self._gates(alias, moves)

    async def _gates(self, alias: str, moves: list[AliasRecord]) -> None:
        try:
            detail, state = await self._gate_check.run(moves), PASSED
        except (DataLossError, NotFoundError) as error:
            detail, state = error.message, FAILED
        self.checks.append(Check(name=f"gate of {alias}", state=state, detail=detail))

    async def _evidence(self, manifest: VersionManifest) -> None:
        evidence = await self._registry.evidence(self._model, self._number)

        def check() -> str:
            for item in evidence:
                record = verify_evidence(
                    item.record.envelope,
                    self._keys,
                    tenant=self._tenant,
                    model=self._model,
                    version=self._number,
                    digest=item.digest,
                )
                if record.root_sha256 != manifest.root_sha256:
                    raise DataLossError(f"evidence {item.digest} speaks of other content")
            return f"{len(evidence)} records"

        self._check("evidence", check)

    def _tombstone(self, tombstone: registry_pb2.Tombstone) -> str:
        record = verify_tombstone(
            tombstone.record.envelope, self._keys, tenant=self._tenant, model=self._model, version=self._number
        )
        return f"withdrawn by {record.withdrawn_by}: {record.reason}"

    async def _download(self, manifest: VersionManifest, folder: Path) -> None:
        for file in manifest.files:
            with _new_file(folder, file.path) as target:
                try:
                    async for data in self._registry.file(self._model, self._number, file.path):
                        target.write(data)
                except DataLossError as error:
                    self.checks.append(Check(name="download", state=FAILED, detail=error.message))

    def _model_signing(self, folder: Path, signature: Path, public_key_file: Path) -> None:
        try:
            verifying: Any = importlib.import_module("model_signing.verifying")
        except ImportError:
            self.checks.append(Check(name="model_signing", state=SKIPPED, detail="the package is not installed"))
            return
        if public_key_file.read_bytes().count(b"-----BEGIN PUBLIC KEY-----") != 1:
            self.checks.append(Check(name="model_signing", state=SKIPPED, detail="it takes a file of one PEM key"))
            return
        # It logs what it refuses; the check says that already.
        logging.getLogger("model_signing").setLevel(logging.CRITICAL)
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=public_key_file).verify(folder, signature)
        except (ValueError, OSError) as error:
            self.checks.append(Check(name="model_signing", state=FAILED, detail=str(error)))
        else:
            self.checks.append(Check(name="model_signing", state=PASSED, detail="its own verification agrees"))

    def _check(self, name: str, check: Callable[[], str | None]) -> None:
        try:
            self.checks.append(Check(name=name, state=PASSED, detail=check() or ""))
        except DataLossError as error:
            self.checks.append(Check(name=name, state=FAILED, detail=error.message))


def _new_file(folder: Path, name: str) -> BinaryIO:
    path = folder / check_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _files(folder: Path, manifest: VersionManifest) -> str:
    verify_files(folder, manifest)
    return f"{len(manifest.files)} files, {sum(file.size_bytes for file in manifest.files)} bytes"
