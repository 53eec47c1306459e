# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The commands about trust: who speaks, what is bound, and that verification finds what does not hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman_client.cli.trust import version_before
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_common.errors import AlreadyExistsError, InvalidArgumentError
from dragoman_common.service_keys import KeyTokens, ServiceKey, ServiceTokenAuthenticator, TrustStore
from dragoman_models.signing import SigningKey


@pytest.fixture
def key_file(tmp_path: Path, platform: Any) -> Path:
    platform.registry.key.save(tmp_path / "private.pem", tmp_path / "public.pem")
    return tmp_path / "public.pem"


async def checks(platform: Any, *arguments: str) -> dict[str, str]:
    result = await platform.dragoman("verify", "r8", "2", *arguments, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == (0 if document["holds"] else 12)
    return {check["name"]: check["state"] for check in document["checks"]}


async def test_verify_checks_everything_and_asks_model_signing_too(platform: Any, key_file: Path) -> None:
    await platform.dragoman("approve", "r8", "2")
    assert await checks(platform, "--key", str(key_file)) == {
        "manifest": "passed",
        "model signature": "passed",
        "alias prod": "passed",
        "evidence": "passed",
        "files": "passed",
        "model_signing": "passed",
    }


async def test_verify_believes_a_chain_of_keys_which_model_signing_does_not_know(
    platform: Any, key_file: Path, tmp_path: Path
) -> None:
    chain = str(tmp_path / "keys.json")
    await platform.dragoman("keylist", "create", chain, "--sign-with", str(tmp_path / "private.pem"))
    found = await checks(platform, "--key", chain)
    assert (found["manifest"], found["files"], found["model_signing"]) == ("passed", "passed", "skipped")


async def test_verify_finds_a_file_that_was_changed(platform: Any, key_file: Path) -> None:
    platform.registry.contents["model.json"] = b"[]"
    found = await checks(platform, "--key", str(key_file))
    assert {name for name, state in found.items() if state == "failed"} == {"files", "model_signing"}


async def test_verify_believes_no_other_key(platform: Any, tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "other.pem", tmp_path / "other.pub")
    assert await checks(platform, "--key", str(tmp_path / "other.pub")) == {"manifest": "failed"}
    # Without --key it is the platform's own, which did not sign this.
    assert await checks(platform) == {"manifest": "failed"}


async def test_verify_finds_a_broken_chain_and_moved_evidence(platform: Any, key_file: Path) -> None:
    await platform.dragoman("approve", "r8", "2")
    platform.registry.evidence[0].digest = "0" * 64
    platform.registry.swapped_events = True
    found = await checks(platform, "--key", str(key_file))
    assert {name for name, state in found.items() if state == "failed"} == {"alias prod", "evidence"}


async def test_verify_of_a_withdrawn_version_downloads_nothing_and_checks_the_word(
    platform: Any, key_file: Path
) -> None:
    platform.registry.is_withdrawn = True
    platform.registry.contents.clear()
    found = await checks(platform, "--key", str(key_file))
    assert (found["tombstone"], found["files"]) == ("passed", "skipped")


@pytest.mark.parametrize(
    ("events", "before"),
    [([1], None), ([1, 2], 1), ([1, 2, 1], None), ([1, 2, 3, 2], 1), ([1, 2, 3, 1], None), ([1, 2, 1, 3], 1)],
)
def test_a_way_back_undoes_what_it_returns_over(events: list[int], before: int | None) -> None:
    assert version_before(events) == before


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30))
@settings(derandomize=True)
def test_going_back_again_and_again_ends_at_the_first_version(events: list[int]) -> None:
    history = list(events)
    for _ in range(6):
        if (version := version_before(history)) is None:
            break
        assert version != history[-1]
        history.append(version)
    assert history[-1] == history[0]


async def test_rollback_of_an_alias_that_never_moved_is_refused(platform: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("dragoman_client.cli.trust.version_before", lambda _versions: None)
    result = await platform.dragoman("rollback", "r8", "prod")
    assert (result.exit_code, "first version it ever had" in result.stderr) == (6, True)


async def test_an_unknown_person_cannot_act(platform: Any) -> None:
    result = await platform.dragoman("approve", "r8", "2", DRAGOMAN_OPERATOR="ada")
    assert (result.exit_code, "dragoman operator add" in result.stderr) == (3, True)


def test_a_person_has_a_key_of_its_own_that_every_service_trusts(home: Home) -> None:
    path = keys.add_operator(home, "ada")
    assert path.stat().st_mode & 0o777 == 0o600
    keys.ensure(home)
    authenticator = ServiceTokenAuthenticator(TrustStore.load(keys.trust_file(home)), audience="registry")
    token = KeyTokens(ServiceKey.load(path), tenant="local").token("registry")
    caller = authenticator.authenticate({"authorization": f"Bearer {token}"})
    assert (caller.identity, caller.subject) == ("operator", "ada")
    with pytest.raises(AlreadyExistsError):
        keys.add_operator(home, "ada")


@pytest.mark.parametrize("name", ["", "Ada", "../x", "a.b", "-a", "a" * 64])
def test_a_person_whose_name_is_none_gets_no_key(home: Home, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        keys.add_operator(home, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: {}", "a list"),
        ("rules: [{alias: prod}]", "alias and quality"),
        ("rules: [{alias: prod, quality: best}]", "quality must be"),
        ("rules: [{alias: prod, quality: better, min_size: 1}]", "alias and quality"),
        ("rules: [{alias: prod, quality: better, num_approvals: two}]", "wrong type"),
        ("rules: [{alias: prod, quality: better, num_approvals: 9999999999}]", "wrong type"),
        ("a: [", "no YAML"),
    ],
)
async def test_a_policy_file_that_is_none_is_refused(platform: Any, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    result = await platform.dragoman("policy", "set", "r8", str(tmp_path / "policy.yaml"), "--reason", "x")
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert platform.registry.rules == []
