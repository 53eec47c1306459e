# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""history says why, keeps copies, and repair sends them; keylist fetch goes on and never back."""

import json
from pathlib import Path
from typing import Any

from dragoman_models.key_list import KEY_CHAIN_FORMAT


async def test_a_saved_history_is_what_repair_sends(platform: Any, tmp_path: Path) -> None:
    copy = tmp_path / "prod.json"
    shown = await platform.dragoman("history", "r8", "prod", "--save", str(copy))
    assert "defaults, 1 pieces of evidence" in shown.stdout
    assert (await platform.dragoman("history", "r8", "prod", "--save", str(copy))).exit_code == 7
    result = await platform.dragoman("repair", "r8", "prod", "--reason", "disk", "--events", str(copy))
    assert (result.exit_code, "is at event 3" in result.stdout) == (0, True)
    [request] = platform.registry.repairs
    assert [json.loads(item.envelope) for item in request.events] == json.loads(copy.read_text())["events"]


async def test_repair_takes_a_copy_or_the_word_that_there_is_none(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for wrong in ((), ("--accept-loss", "--events", "x"), ("--events", str(tmp_path / "other.json"))):
        assert (await platform.dragoman("repair", "r8", "prod", "--reason", "disk", *wrong)).exit_code == 2
    result = await platform.dragoman("repair", "r8", "--reason", "disk", "--accept-loss")
    assert (result.exit_code, "gate policy is at event 1" in result.stdout) == (0, True)
    assert [(item.alias, len(item.events)) for item in platform.registry.repairs] == [("", 0)]


async def test_a_retraction_names_one_piece_of_evidence_by_its_beginning(platform: Any) -> None:
    for comment in ("a", "b"):
        await platform.dragoman("approve", "r8", "2", "--comment", comment)
    digest = platform.registry.evidence[0].digest
    result = await platform.dragoman("evidence", "retract", "r8", "2", "", "--reason", "x")
    assert (result.exit_code, "of 2 digests" in result.stderr) == (3, True)
    assert (await platform.dragoman("evidence", "retract", "r8", "2", digest[:9], "--reason", "x")).exit_code == 0
    listed = json.loads((await platform.dragoman("evidence", "list", "r8", "2", "--json")).stdout)["evidence"]
    assert [item["retracted_by"] is not None for item in listed] == [True, False, False]


async def test_a_fetched_list_goes_on_and_never_back(platform: Any, tmp_path: Path) -> None:
    platform.registry.key.save(tmp_path / "a.pem", tmp_path / "a.pub")
    begun, fetched = tmp_path / "begun.json", tmp_path / "fetched.json"
    assert (await platform.dragoman("keylist", "fetch", str(fetched), "--key", str(tmp_path / "a.pub"))).exit_code == 3
    await platform.dragoman("keylist", "create", str(begun), "--sign-with", str(tmp_path / "a.pem"))
    first = platform.registry.key_chain = begun.read_bytes()
    # The platform's own key did not begin this list.
    assert (await platform.dragoman("keylist", "fetch", str(fetched))).exit_code == 2
    for _ in range(2):
        found = await platform.dragoman("keylist", "fetch", str(fetched), "--key", str(tmp_path / "a.pub"), "--json")
        assert json.loads(found.stdout)["sequence"] == 1
    platform.registry.key_chain = json.dumps({"format": KEY_CHAIN_FORMAT, "lists": []}).encode()
    assert (await platform.dragoman("keylist", "fetch", str(fetched))).exit_code == 2
    assert fetched.read_bytes() == first
