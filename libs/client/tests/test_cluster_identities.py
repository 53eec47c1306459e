# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An installation's secrets in a cluster: made once, completed after a crash, never replaced."""

import json
from pathlib import Path

import pytest

from dragoman_client.cluster.identities import ensure_identities, ensure_password, ensure_store_credentials
from dragoman_client.cluster.memory import MemoryObjects
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_common.service_keys import ServiceKey, TrustStore
from dragoman_models.signing import SigningKey, public_pem

NAMES = {f"d-key-{name}" for name in keys.IDENTITIES if name != "operator"} | {"d-operator", "d-users", "d-signing"}


def ensure(objects, folder: Path) -> list[str]:
    return ensure_identities(objects, "d", Home(folder))


def test_every_secret_holds_the_key_whose_public_half_is_trusted(tmp_path):
    objects = MemoryObjects()
    assert set(ensure(objects, tmp_path / "a")) == NAMES | {"d-trust"}
    trust_file = tmp_path / "trust.json"
    trust_file.write_bytes(objects.held["ConfigMap", "d-trust"]["trust.json"])
    trust = TrustStore.load(trust_file)
    for identity in keys.IDENTITIES:
        secret = "d-operator" if identity == "operator" else f"d-key-{identity}"
        place = tmp_path / f"{identity}.pem"
        place.write_bytes(objects.held["Secret", secret][f"{identity}.pem"])
        assert ServiceKey.load(place).public.public_bytes_raw() == trust.key_of(identity).public_bytes_raw()
    signing = tmp_path / "signing.pem"
    signing.write_bytes(objects.held["Secret", "d-signing"]["signing.pem"])
    assert objects.held["ConfigMap", "d-trust"]["signing.pub.pem"] == public_pem(SigningKey.load(signing).public_key)
    assert objects.final == {("Secret", name) for name in NAMES}


def test_a_second_run_makes_and_changes_nothing(tmp_path):
    objects = MemoryObjects()
    ensure(objects, tmp_path / "a")
    before = dict(objects.held)
    assert ensure(objects, tmp_path / "b") == []
    assert objects.held == before


class Crashing(MemoryObjects):
    """Ends after some creations, as a pod that is killed."""

    def __init__(self, num_creations: int) -> None:
        super().__init__()
        self.left = num_creations

    def create(self, kind, name, files, *, is_final=True):
        if not self.left:
            raise UnavailableError("killed")
        self.left -= 1
        super().create(kind, name, files, is_final=is_final)


@pytest.mark.parametrize("num_creations", range(len(NAMES) + 1))
def test_a_run_that_was_killed_anywhere_is_completed_by_the_next(tmp_path, num_creations):
    objects = Crashing(num_creations)
    with pytest.raises(UnavailableError):
        ensure(objects, tmp_path / "a")
    before = dict(objects.held)
    objects.left = 99
    ensure(objects, tmp_path / "b")
    assert before.items() <= objects.held.items()
    assert ensure(objects, tmp_path / "c") == []
    assert {name for _, name in objects.held} == NAMES | {"d-trust"}


def test_an_identity_of_a_later_release_is_added_and_added_people_stay(tmp_path):
    objects = MemoryObjects()
    ensure(objects, tmp_path / "a")
    # As the release before left it: one identity fewer, and a person whom somebody added.
    objects.held.pop(("Secret", "d-key-autoscaler"))
    trust = objects.held["ConfigMap", "d-trust"]
    known = json.loads(trust["trust.json"])
    known.pop("autoscaler")
    person = dict(known, **{"operator.ada": known["worker"]})
    objects.held["ConfigMap", "d-trust"] = {**trust, "trust.json": json.dumps(person).encode()}
    assert ensure(objects, tmp_path / "b") == ["d-key-autoscaler", "d-trust"]
    after = json.loads(objects.held["ConfigMap", "d-trust"]["trust.json"])
    assert after.keys() == person.keys() | {"autoscaler"}
    assert person.items() <= after.items()


def test_a_key_that_is_not_the_trusted_one_is_refused(tmp_path):
    objects, other = MemoryObjects(), MemoryObjects()
    ensure(objects, tmp_path / "a")
    ensure(other, tmp_path / "b")
    objects.held["Secret", "d-key-worker"] = other.held["Secret", "d-key-worker"]
    with pytest.raises(DataLossError, match="worker"):
        ensure(objects, tmp_path / "c")


def test_a_secret_without_its_key_is_refused_by_name(tmp_path):
    objects = MemoryObjects()
    objects.held["Secret", "d-signing"] = {"other": b""}
    with pytest.raises(DataLossError, match="d-signing"):
        ensure(objects, tmp_path / "a")


def test_store_and_state_get_credentials_once():
    objects = MemoryObjects()
    assert ensure_store_credentials(objects, "s") == ["s"]
    assert ensure_password(objects, "p") == ["p"]
    store = objects.held["Secret", "s"]
    assert store["user"] in store["credentials"]
    assert store["password"] in store["credentials"]
    assert len(objects.held["Secret", "p"]["password"]) >= 32
    before = dict(objects.held)
    assert ensure_store_credentials(objects, "s") + ensure_password(objects, "p") == []
    assert objects.held == before
