# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a writer to the store tries, by name: each changes the store, and says what an audit record must name.

The scene: tenant `local` has the model `victim`, whose aliases `prod` and `canary` point to version `good`, after
`older`; `bad` is a version that was published well and is then tampered with; `gone` is withdrawn. The model `other`,
and `victim` of the tenant `stranger`, have version 1, signed by the same registry.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from dragoman_models.record import parse_alias_record, parse_version_manifest
from dragoman_models.signing import SigningKey, sign_alias_record, sign_manifest, sign_model
from dragoman_models.tombstone import TombstoneRecord, sign_tombstone
from tests.integration.store_writer import FolderWriter, StoreWriter

TENANT = "tenants/local"
VICTIM = f"{TENANT}/models/victim"
PROD = f"{VICTIM}/aliases/prod"
CANARY = f"{VICTIM}/aliases/canary"
CANARY_HEAD = f"{VICTIM}/heads/aliases/canary"
# The one of the writer to the store; no list names it.
INTRUDER = SigningKey.generate()


@dataclass(frozen=True, kw_only=True)
class Scene:
    writer: StoreWriter
    older: int
    good: int
    gone: int
    bad: int
    blobs: dict[str, str]
    """Keys of bad's files, by path."""
    older_head: bytes
    """The head of canary when it pointed to older."""

    @property
    def manifest(self) -> str:
        return f"{VICTIM}/versions/{self.bad}"

    @property
    def newest(self) -> int:
        return len(self.writer.names_below(PROD))

    def copy(self, source: str, target: str) -> None:
        self.writer.write(target, self.writer.read(source))


Tampering = Callable[[Scene], str]


def _version(scene: Scene) -> str:
    return f"local/victim/versions/{scene.bad}"


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _flip_file(path: str) -> Tampering:
    def tamper(scene: Scene) -> str:
        scene.writer.write(scene.blobs[path], flipped(scene.writer.read(scene.blobs[path])))
        return _version(scene)

    return tamper


def _change_blob(change: Callable[[bytes], bytes]) -> Tampering:
    def tamper(scene: Scene) -> str:
        key = scene.blobs["weights.safetensors"]
        scene.writer.write(key, change(scene.writer.read(key)))
        return _version(scene)

    return tamper


def swap_blobs(scene: Scene) -> str:
    one, two = scene.blobs["weights.safetensors"], scene.blobs["tokenizer.json"]
    first, second = scene.writer.read(one), scene.writer.read(two)
    scene.writer.write(one, second)
    scene.writer.write(two, first)
    return _version(scene)


def remove_blob(scene: Scene) -> str:
    scene.writer.delete(scene.blobs["weights.safetensors"])
    return _version(scene)


def _manifest_from(source: str) -> Tampering:
    def tamper(scene: Scene) -> str:
        scene.copy(source.format(good=scene.good), scene.manifest)
        return _version(scene)

    return tamper


def flip_manifest(scene: Scene) -> str:
    scene.writer.write(scene.manifest, flipped(scene.writer.read(scene.manifest)))
    return _version(scene)


def _payload(envelope: dict[str, object]) -> bytes:
    return base64.b64decode(str(envelope["payload"]))


def list_git_config(scene: Scene) -> str:
    """One more file in the signed list, `.git/config`, under the old signature."""
    content = json.loads(scene.writer.read(scene.manifest))
    payload = json.loads(_payload(content["manifest"]))
    payload["files"].append({"path": ".git/config", "sha256": "0" * 64, "size_bytes": 1})
    content["manifest"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    scene.writer.write(scene.manifest, json.dumps(content).encode())
    return _version(scene)


def _resigned_by_intruder(scene: Scene) -> bytes:
    content = json.loads(scene.writer.read(scene.manifest))
    manifest = parse_version_manifest(_payload(content["manifest"]), what="manifest")
    content["manifest"] = json.loads(sign_manifest(manifest, INTRUDER))
    content["model_signature"] = json.loads(sign_model(manifest.model, manifest.files, INTRUDER))
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def sign_version_anew(scene: Scene) -> str:
    scene.writer.write(scene.manifest, _resigned_by_intruder(scene))
    return _version(scene)


def plant_resigned(scene: Scene) -> str:
    """The intruder's key in the place of a key that took over; lists of keys lie outside of the store."""
    scene.writer.write(
        f"{TENANT}/resigned/{INTRUDER.key_id}/models/victim/versions/{scene.bad}", _resigned_by_intruder(scene)
    )
    return ""


def forge_tombstone(scene: Scene) -> str:
    content = json.loads(scene.writer.read(scene.manifest))
    manifest = parse_version_manifest(_payload(content["manifest"]), what="manifest")
    record = TombstoneRecord(
        tenant="local",
        model="victim",
        version=scene.bad,
        root_sha256=manifest.root_sha256,
        reason="because I say so",
        withdrawn_by="operator:operator",
        withdraw_time=manifest.publish_time,
        nonce="0" * 32,
    )
    scene.writer.write(f"{VICTIM}/tombstones/{scene.bad}", sign_tombstone(record, INTRUDER))
    return f"local/victim/tombstones/{scene.bad}"


def copy_tombstone(scene: Scene) -> str:
    scene.copy(f"{VICTIM}/tombstones/{scene.gone}", f"{VICTIM}/tombstones/{scene.bad}")
    return f"local/victim/tombstones/{scene.bad}"


def copy_evidence(scene: Scene) -> str:
    [digest] = scene.writer.names_below(f"{VICTIM}/evidence/{scene.good}")
    scene.copy(f"{VICTIM}/evidence/{scene.good}/{digest}", f"{VICTIM}/evidence/{scene.bad}/{digest}")
    return f"local/victim/evidence/{scene.bad}"


def _link(key: Callable[[Scene], str], target: Callable[[Scene], str]) -> Tampering:
    def tamper(scene: Scene) -> str:
        assert isinstance(scene.writer, FolderWriter)
        scene.writer.link(key(scene), target(scene))
        # Named by its key in the store, or as the version.
        return f"/versions/{scene.bad}"

    return tamper


def link_blob_to_its_own_bytes(scene: Scene) -> str:
    assert isinstance(scene.writer, FolderWriter)
    key = scene.blobs["weights.safetensors"]
    copy = scene.writer.root.parent / "the same bytes"
    copy.write_bytes(scene.writer.read(key))
    scene.writer.link(key, str(copy))
    return _version(scene)


VERSION_TAMPERINGS: dict[str, Tampering] = {
    **{
        f"a flipped bit in {path}": _flip_file(path)
        for path in ("model.json", "weights.safetensors", "tokenizer.json", "evaluation.json", "card.md")
    },
    "blobs swapped": swap_blobs,
    "a blob cut short": _change_blob(lambda data: data[:-1]),
    "a blob made longer": _change_blob(lambda data: data + b"\0"),
    "an empty blob": _change_blob(lambda _: b""),
    "a blob removed": remove_blob,
    "a flipped bit in the manifest": flip_manifest,
    "the manifest of another version": _manifest_from(f"{VICTIM}/versions/{{good}}"),
    "the manifest of another model": _manifest_from(f"{TENANT}/models/other/versions/1"),
    "the manifest of another tenant": _manifest_from("tenants/stranger/models/victim/versions/1"),
    "a file .git/config in the manifest": list_git_config,
    "the manifest signed by another key": sign_version_anew,
    "a forged tombstone": forge_tombstone,
    "a tombstone copied from another version": copy_tombstone,
    "evidence copied from another version": copy_evidence,
}

FOLDER_TAMPERINGS: dict[str, Tampering] = {
    "a blob that is a link to another file": _link(lambda s: s.blobs["weights.safetensors"], lambda _: "/etc/passwd"),
    "a blob that is a link to its own bytes": link_blob_to_its_own_bytes,
    "a manifest that is a link to another": _link(lambda s: s.manifest, lambda s: str(s.good)),
}


def _alias(_scene: Scene) -> str:
    return "local/victim/aliases/prod"


def forge_event(scene: Scene) -> str:
    """The next move, to the version that is about to be attacked, chained well and signed by the intruder."""
    envelope = json.loads(scene.writer.read(f"{PROD}/{scene.newest}"))
    record = parse_alias_record(_payload(envelope), what="event")
    forged = replace(record, sequence=scene.newest + 1, stable_version=scene.bad, nonce="0" * 32)
    scene.writer.write(f"{PROD}/{scene.newest + 1}", sign_alias_record(forged, INTRUDER))
    return _alias(scene)


def forge_older_event(scene: Scene) -> str:
    envelope = json.loads(scene.writer.read(f"{PROD}/1"))
    record = parse_alias_record(_payload(envelope), what="event")
    scene.writer.write(f"{PROD}/1", sign_alias_record(replace(record, stable_version=scene.bad), INTRUDER))
    return _alias(scene)


def flip_event(scene: Scene) -> str:
    key = f"{PROD}/{scene.newest}"
    scene.writer.write(key, flipped(scene.writer.read(key)))
    return _alias(scene)


def replay_event(scene: Scene) -> str:
    scene.copy(f"{PROD}/1", f"{PROD}/{scene.newest + 1}")
    return _alias(scene)


def overwrite_newest_with_older(scene: Scene) -> str:
    scene.copy(f"{PROD}/1", f"{PROD}/{scene.newest}")
    return _alias(scene)


def event_of_another_model(scene: Scene) -> str:
    scene.copy(f"{TENANT}/models/other/aliases/prod/1", f"{PROD}/{scene.newest + 1}")
    return _alias(scene)


def event_of_another_tenant(scene: Scene) -> str:
    scene.copy("tenants/stranger/models/victim/aliases/prod/1", f"{PROD}/{scene.newest + 1}")
    return _alias(scene)


def remove_newest_event(scene: Scene) -> str:
    scene.writer.delete(f"{PROD}/{scene.newest}")
    return _alias(scene)


def remove_all_events(scene: Scene) -> str:
    for sequence in range(1, scene.newest + 1):
        scene.writer.delete(f"{PROD}/{sequence}")
    return _alias(scene)


def go_back_with_older_head(scene: Scene) -> str:
    """All of canary is as it was once, its signed head included: nothing in the store tells of what came later."""
    for sequence in range(2, len(scene.writer.names_below(CANARY)) + 1):
        scene.writer.delete(f"{CANARY}/{sequence}")
    scene.writer.write(CANARY_HEAD, scene.older_head)
    return "local/victim/aliases/canary"


CHAIN_TAMPERINGS: dict[str, Tampering] = {
    "a forged newest event": forge_event,
    "a forged older event": forge_older_event,
    "a flipped bit in the newest event": flip_event,
    "an older event at a newer sequence": replay_event,
    "an older event over the newest": overwrite_newest_with_older,
    "an event of another model": event_of_another_model,
    "an event of another tenant": event_of_another_tenant,
    "the newest event removed": remove_newest_event,
    "all events removed": remove_all_events,
}


def _plant(*keys: str) -> Tampering:
    def tamper(scene: Scene) -> str:
        for key in keys:
            scene.writer.write(key.format(bad=scene.bad), b"#!/bin/sh\n")
        return ""

    return tamper


def claim_elsewhere(scene: Scene) -> str:
    """The claim of bad's content names the version in production."""
    content = json.loads(scene.writer.read(scene.manifest))
    root = parse_version_manifest(_payload(content["manifest"]), what="manifest").root_sha256
    claim = json.loads(scene.writer.read(f"{VICTIM}/by-digest/{root}"))
    scene.writer.write(f"{VICTIM}/by-digest/{root}", json.dumps(claim | {"number": scene.good}).encode())
    return ""


# What has no place among a model's records: a scan names each in the audit log.
UNKNOWN = (
    f"{VICTIM}/run.py",
    f"{VICTIM}/.git/config",
    f"{VICTIM}/versions/run.py",
    f"{VICTIM}/versions/.git/config",
    f"{PROD}/.git/config",
)


def plant_unknown(scene: Scene) -> tuple[str, ...]:
    _plant(*UNKNOWN)(scene)
    return UNKNOWN


# What no record names: it must have no effect at all.
PLANTED: dict[str, Tampering] = {
    "files beside the versions": _plant(f"{VICTIM}/versions/run.py", f"{VICTIM}/run.py", f"{TENANT}/run.py"),
    ".git/config in every folder": _plant(
        f"{VICTIM}/versions/.git/config", f"{VICTIM}/.git/config", f"{TENANT}/.git/config", f"{PROD}/.git/config"
    ),
    "a blob that no version lists": _plant(f"{TENANT}/blobs/sha256/{'0' * 64}"),
    "the version signed again by a key that is in no list": plant_resigned,
    "a claim that points elsewhere": claim_elsewhere,
}
