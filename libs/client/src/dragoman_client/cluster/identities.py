# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The identities of one installation in a cluster: made once, as Secrets, and never replaced.

    Secrets that are there -> files of a home -> keys.ensure makes what is missing -> Secrets that were not there
        -> the ConfigMap of public halves, last

Owns which object holds which key. How keys are made is `local.keys`; where objects are kept is behind the port. A run
that ended half-way is completed by the next one: what it made is found and kept, and the ConfigMap follows from it.
"""

import json
import secrets
from pathlib import Path

from dragoman_client.cluster.ports import SecretObjects
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.errors import DataLossError
from dragoman_models.signing import SigningKey, public_pem

TRUST, SIGNING_PUBLIC, USERS = "trust.json", "signing.pub.pem", "users.jwks.json"
_SERVICES = tuple(identity for identity in keys.IDENTITIES if identity != "operator")


def ensure_identities(objects: SecretObjects, prefix: str, home: Home) -> list[str]:
    """Make the Secrets of every identity that has none, and say in the ConfigMap `<prefix>-trust` who they are.

    Args:
        objects: where they are kept.
        prefix: what their names begin with: <prefix>-key-<service>, -operator, -users, -signing, -trust.
        home: an empty home, whose keys are those of the cluster afterwards.

    Returns:
        The names of the objects that were made or completed.

    Raises:
        DataLossError: a Secret is there without its key, or is not the one whose public half is in the ConfigMap.
    """
    home.create()
    places = _places(prefix, home)
    for name, place in places.items():
        _fetch(objects, name, place)
    there = {place for place in places.values() if place.exists()}
    if (signing := keys.signing_key_file(home)) in there:
        keys.signing_public_key_file(home).write_bytes(public_pem(SigningKey.load(signing).public_key))
    keys.ensure(home)
    made = []
    for name, place in places.items():
        if place not in there:
            objects.create("Secret", name, {place.name: place.read_bytes()})
            made.append(name)
    return made + _ensure_trust(objects, prefix, home)


def ensure_store_credentials(objects: SecretObjects, name: str) -> list[str]:
    """Make a name and a password for the store, also as an AWS credentials file, unless the Secret is there."""
    if objects.read("Secret", name) is not None:
        return []
    user, password = f"dragoman-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    profile = f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {password}\n"
    objects.create(
        "Secret", name, {"credentials": profile.encode(), "user": user.encode(), "password": password.encode()}
    )
    return [name]


def ensure_password(objects: SecretObjects, name: str) -> list[str]:
    """Make a password, unless the Secret is there."""
    if objects.read("Secret", name) is not None:
        return []
    objects.create("Secret", name, {"password": secrets.token_urlsafe(32).encode()})
    return [name]


def _places(prefix: str, home: Home) -> dict[str, Path]:
    """Secret -> the file of the home that it holds, under the same file name."""
    return {
        **{f"{prefix}-key-{service}": keys.key_file(home, service) for service in _SERVICES},
        f"{prefix}-operator": keys.key_file(home, "operator"),
        f"{prefix}-users": keys.user_key_file(home),
        f"{prefix}-signing": keys.signing_key_file(home),
    }


def _fetch(objects: SecretObjects, name: str, place: Path) -> None:
    files = objects.read("Secret", name)
    if files is None:
        return
    if place.name not in files:
        raise DataLossError(
            f"Secret {name} has no {place.name}; delete it if nothing was signed with it, or put it back"
        )
    place.touch(mode=0o600)
    place.write_bytes(files[place.name])


def _ensure_trust(objects: SecretObjects, prefix: str, home: Home) -> list[str]:
    """The public halves. What an operator added to the ConfigMap (a person, a key that is being rotated in) stays."""
    name = f"{prefix}-trust"
    trust = json.loads(keys.trust_file(home).read_bytes())
    current = objects.read("ConfigMap", name)
    if current is None:
        files = {
            TRUST: keys.trust_file(home).read_bytes(),
            SIGNING_PUBLIC: keys.signing_public_key_file(home).read_bytes(),
            USERS: keys.user_jwks_file(home).read_bytes(),
        }
        objects.create("ConfigMap", name, files, is_final=False)
        return [name]
    known = json.loads(current[TRUST])
    if strange := sorted(identity for identity in trust.keys() & known.keys() if trust[identity] != known[identity]):
        raise DataLossError(f"ConfigMap {name} names another key for {', '.join(strange)} than its Secret holds")
    if trust.keys() <= known.keys():
        return []
    merged = json.dumps(dict(sorted((trust | known).items())), indent=2).encode()
    objects.replace("ConfigMap", name, {**current, TRUST: merged})
    return [name]
