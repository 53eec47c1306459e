# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker's tests are set in: small real model packages, signed, in a registry in memory."""

import base64
import dataclasses
import hashlib
import json
from datetime import UTC, datetime

import numpy as np
from blake3 import blake3

from dragoman_models import linear
from dragoman_models.file_digest import FileDigest, check_files, root_sha256
from dragoman_models.gate_basis import LostEvent
from dragoman_models.package import Architecture, InputLimits, ModelConfig, TokenizerFile, to_json
from dragoman_models.record import AliasRecord, Candidate, VersionManifest, parse_alias_record
from dragoman_models.signing import SigningKey, sign_alias_record, sign_manifest
from dragoman_models.verify import VerifyingKeys, payload_sha256
from dragoman_worker.memory import MemoryRegistry
from dragoman_worker.ports import AliasUpdate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VOCABULARY_SIZE = 100
LABELS = ("a", "b", "c")
MAX_TOKENS = 512


def linear_package(seed: int) -> dict[str, bytes]:
    """A linear model over single tokens with random weights: the files of a version."""
    generator = np.random.default_rng(seed)
    hyperparameters = linear.LinearHyperparameters(
        vocabulary_size=VOCABULARY_SIZE, ngram_max=1, num_features=VOCABULARY_SIZE - 1, sublinear_tf=True
    )
    keys = np.arange(2, VOCABULARY_SIZE + 1, dtype=np.int64)
    idf = generator.uniform(1, 5, keys.size).astype(np.float32)
    vectoriser = linear.Vectoriser(hyperparameters, keys, idf)
    coefficients = generator.normal(size=(keys.size, len(LABELS))).astype(np.float32)
    weights = linear.dump(vectoriser, coefficients, np.zeros(len(LABELS), dtype=np.float32))
    return package("linear", hyperparameters.to_mapping(), weights)


def package(architecture: str, hyperparameters, weights: bytes) -> dict[str, bytes]:
    config = ModelConfig(
        architecture=Architecture(name=architecture, hyperparameters=hyperparameters),
        labels=LABELS,
        tokenizer=TokenizerFile(backend="basic_english"),
        input_limits=InputLimits(max_text_bytes=65536, max_tokens=MAX_TOKENS),
    )
    return {
        "model.json": to_json(config),
        "weights.safetensors": weights,
        "tokenizer.json": b"{}",
        "card.md": b"# test\n",
        "evaluation.json": b"{ }",
    }


class World:
    """A registry and the key that it signs with."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.keys = VerifyingKeys([self.key.public_key])
        self.registry = MemoryRegistry()
        self._last: dict[tuple[str, str, str], AliasRecord] = {}

    def publish(self, number: int, files: dict[str, bytes], *, tenant="local", model="r8", key=None) -> VersionManifest:
        listed = check_files(
            FileDigest(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for path, data in files.items()
        )
        manifest = VersionManifest(
            tenant=tenant,
            model=model,
            number=number,
            root_sha256=root_sha256(listed),
            files=listed,
            task="text-classification",
            architecture=json.loads(files["model.json"])["architecture"]["name"],
            labels=LABELS,
            input_limits=InputLimits(max_text_bytes=65536, max_tokens=MAX_TOKENS),
            tokenizer=TokenizerFile(backend="basic_english"),
            publish_time=NOW,
            publisher="trainer/test",
            publish_id=f"publish-{number}",
            nonce="n",
            blake3=tuple(blake3(files[file.path]).hexdigest() for file in listed),
        )
        self.registry.manifests[tenant, model, number] = sign_manifest(manifest, key or self.key)
        self.registry.files[tenant, model, number] = dict(files)
        return manifest

    def event(
        self, manifest: VersionManifest, *, alias="prod", key=None, candidate: VersionManifest | None = None, **changes
    ) -> AliasUpdate:
        """The alias's next event, signed; not yet sent."""
        place = (manifest.tenant, manifest.model, alias)
        last = self._last.get(place)
        fields = {
            "tenant": manifest.tenant,
            "model": manifest.model,
            "alias": alias,
            "sequence": last.sequence + 1 if last else 1,
            "stable_version": manifest.number,
            "stable_root_sha256": manifest.root_sha256,
            "moved_by": "operator/test",
            "move_time": NOW,
            "request_id": "r",
            "nonce": "n",
            "previous_sha256": payload_sha256(last) if last else "",
            "candidate": candidate
            and Candidate(version=candidate.number, root_sha256=candidate.root_sha256, weight_basis_points=500),
        }
        record = AliasRecord(**(fields | changes))
        self._last[place] = record
        return AliasUpdate(
            tenant=manifest.tenant,
            model=manifest.model,
            alias=alias,
            stable_version=manifest.number,
            envelope=sign_alias_record(record, key or self.key),
        )

    def sign_again(self, key: tuple[str, str, str], by: SigningKey) -> None:
        """Put the alias's newest event there under another key, and tell nobody."""
        record, registry = self._last[key], self.registry
        envelope = registry.alias_history[key][record.sequence] = sign_alias_record(record, by)
        registry._updates[key] = dataclasses.replace(registry._updates[key], envelope=envelope)

    def accept_loss(self, manifest: VersionManifest, num_lost: int, *, alias="prod", **how) -> None:
        """Lose the newest `num_lost` events, and accept it: an event in the first lost one's place says so."""
        key = (manifest.tenant, manifest.model, alias)
        lost = self._last[key]
        accepted = LostEvent(sequence=lost.sequence, sha256=payload_sha256(lost))
        sequence = lost.sequence - num_lost + 1
        for place in range(sequence, lost.sequence + 1):
            self.registry.alias_history[key].pop(place, None)
        before = parse_alias_record(
            base64.b64decode(json.loads(self.registry.alias_history[key][sequence - 1])["payload"]), what="x"
        )
        self.registry.accepted[key, sequence] = accepted
        changes = {"sequence": sequence, "previous_sha256": payload_sha256(before), "accepted_loss": accepted}
        self.point(manifest, alias=alias, **(changes | how))

    def point(self, manifest: VersionManifest, **how) -> None:
        """Move an alias, and tell the watchers."""
        event = self.event(manifest, **how)
        self.registry.set_alias(event, self._last[event.tenant, event.model, event.alias].sequence)
