# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Evidence: who may say what of which version, kept once, signed, and believed only where it belongs."""

import dataclasses

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.auth import calling_as
from dragoman_models.evidence import sign_evidence, verify_evidence
from dragoman_models.signing import SigningKey
from dragoman_models.verify import VerifyingKeys
from dragoman_registry import evidence_book

KINDS = ("evaluation", "robustness", "measurement", "approval", "rollout-verdict")


def document(make, kind: str) -> str:
    return make.evaluation(make.bits(400, 8)).decode() if kind == "evaluation" else make.document(kind)


@pytest.fixture
async def versions(registry, make):
    """Version 1 by job-1, version 2 by ada."""
    async with registry.job("job-1") as job:
        await job.publish(make.good(1))
    async with registry.client("operator.ada") as ada:
        await ada.publish(make.good(2), publish_id="p2")
    return registry


MAY = {
    "job-1": {"evaluation", "robustness", "measurement"},
    "operator": {"evaluation", "robustness", "measurement", "approval"},
    "monitor": {"rollout-verdict"},
    "job-2": set(),
    "worker": set(),
}


@pytest.mark.parametrize("who", MAY)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_for_its_roles_only(versions, make, refused, who, kind):
    opened = versions.job(who) if who.startswith("job-") else versions.client(who)
    async with opened as client:
        with calling_as("acme"):
            if kind in MAY[who]:
                assert (await client.say(1, kind, document(make, kind))).created
            else:
                async with refused("PERMISSION_DENIED"):
                    await client.say(1, kind, document(make, kind))
    async with versions.client() as reader:
        assert len(await reader.evidence(1)) == (kind in MAY[who])


async def test_a_job_speaks_of_versions_that_it_published_and_of_no_others(versions, make, refused):
    async with versions.job("job-1") as job, refused("PERMISSION_DENIED", "not published by job job-1"):
        await job.say(2, "robustness", make.document("robustness"))


async def test_nobody_approves_what_he_published(versions, make, refused):
    async with versions.client("operator.ada") as ada, refused("PERMISSION_DENIED", "somebody else must approve"):
        await ada.say(2, "approval", make.document("approval"))
    async with versions.client("operator.bo") as bo:
        reply = await bo.say(2, "approval", make.document("approval"))
        assert reply.evidence.added_by == "operator:bo"


async def test_evidence_is_signed_for_its_place_and_content(versions, make):
    async with versions.client("operator.bo") as bo:
        found = (await bo.say(1, "approval", make.document("approval"))).evidence
        assert await bo.evidence(1) == [found]
        version = await bo.get(1)
    record = verify_evidence(
        found.record.envelope,
        VerifyingKeys([versions.key.public_key]),
        tenant="acme",
        model="r8",
        version=1,
        digest=found.digest,
    )
    assert (record.root_sha256, record.added_by, record.document) == (
        version.root_sha256,
        "operator:bo",
        make.document("approval"),
    )


async def test_the_same_said_again_is_kept_once_and_by_another_caller_again(versions, make):
    async with versions.client("operator.bo") as bo, versions.client("operator.cy") as cy:
        first = await bo.say(1, "approval", make.document("approval"))
        again = await bo.say(1, "approval", make.document("approval"))
        assert (first.created, again.created) == (True, False)
        assert first.evidence == again.evidence
        assert (await cy.say(1, "approval", make.document("approval"))).created
        assert [item.added_by for item in await bo.evidence(1)] == ["operator:bo", "operator:cy"]


async def test_evidence_is_listed_by_kind_and_page_oldest_first(versions, make, refused):
    async with versions.client("operator.bo") as bo:
        for number in range(3):
            await bo.say(1, "approval", make.document("approval", comment=str(number)))
        await bo.say(1, "measurement", make.document("measurement"))
        assert [item.kind for item in await bo.evidence(1, kind="measurement")] == ["measurement"]
        first = await bo.stub.ListEvidence(pb.ListEvidenceRequest(model="r8", version=1, kind="approval", page_size=2))
        rest = await bo.stub.ListEvidence(
            pb.ListEvidenceRequest(model="r8", version=1, kind="approval", page_token=first.next_page_token)
        )
        comments = [item.document[-4:] for page in (first, rest) for item in page.evidence]
        assert comments == ['"0"}', '"1"}', '"2"}']
        assert rest.next_page_token == ""
        async with refused("INVALID_ARGUMENT", "kind"):
            await bo.evidence(1, kind="rumour")


BAD = {
    "no json": "x",
    "no object": "[]",
    "another format": '{"format": "dragoman.approval/2", "alias": "", "comment": ""}',
    "unknown key": '{"format": "dragoman.approval/1", "alias": "", "comment": "", "auto_map": 1}',
    "missing key": '{"format": "dragoman.approval/1", "alias": ""}',
    "a line break": '{"format": "dragoman.approval/1", "alias": "", "comment": "a\\nb"}',
    "too long": '{"format": "dragoman.approval/1", "alias": "", "comment": "' + "x" * 1025 + '"}',
    "too large": "x" * ((1 << 20) + 1),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_document_that_is_none_is_refused(versions, refused, name):
    async with versions.client("operator.bo") as bo:
        async with refused("INVALID_ARGUMENT"):
            await bo.say(1, "approval", BAD[name])
        assert await bo.evidence(1) == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("measurement", {"p50_us": 5000}),
        ("measurement", {"num_calls": 99}),
        ("measurement", {"p99_us": 1.5}),
        ("robustness", {"suites": []}),
        ("robustness", {"suites": [{"name": "x", "digest": "a" * 64, "num_rows": 1, "num_correct": 2}]}),
    ],
)
async def test_figures_that_contradict_each_other_are_refused(versions, make, refused, kind, changes):
    async with versions.client() as client, refused("INVALID_ARGUMENT", kind):
        await client.say(1, kind, make.document(kind, **changes))


async def test_an_evaluation_of_other_labels_is_refused(versions, make, refused):
    async with versions.client() as client, refused("INVALID_ARGUMENT", "labels"):
        await client.say(1, "evaluation", make.evaluation(make.bits(40, 1), labels=("a", "b")))


async def test_an_approver_can_bind_the_content_that_was_looked_at(versions, make, refused):
    async with versions.client("operator.bo") as bo:
        digest = (await bo.get(1)).root_sha256
        async with refused("INVALID_ARGUMENT", "root_sha256"):
            await bo.say(1, "approval", make.document("approval"), root_sha256="0" * 64)
        assert (await bo.say(1, "approval", make.document("approval"), root_sha256=digest)).created


async def test_evidence_of_what_does_not_exist_is_not_found(versions, make, refused):
    async with versions.client() as client:
        for version, model in ((9, "r8"), (1, "other")):
            async with refused("NOT_FOUND"):
                await client.say(version, "measurement", make.document("measurement"), model=model)
        async with refused("INVALID_ARGUMENT"):
            await client.say(0, "measurement", make.document("measurement"))
    async with versions.client(tenant="other") as other, refused("NOT_FOUND"):
        await other.evidence(1)


async def test_a_version_has_a_bounded_number_of_pieces(versions, make, refused, monkeypatch):
    monkeypatch.setattr(evidence_book, "MAX_EVIDENCE", 1)
    async with versions.client("operator.bo") as bo:
        await bo.say(1, "approval", make.document("approval"))
        async with refused("FAILED_PRECONDITION", "limit"):
            await bo.say(1, "measurement", make.document("measurement"))
        assert not (await bo.say(1, "approval", make.document("approval"))).created


async def moved_evidence(versions, make, **changes) -> tuple[str, bytes]:
    """A piece of evidence that the registry signed, changed and signed again; and its key."""
    async with versions.client("operator.bo") as bo:
        found = (await bo.say(1, "approval", make.document("approval"))).evidence
    record = verify_evidence(
        found.record.envelope,
        VerifyingKeys([versions.key.public_key]),
        tenant="acme",
        model="r8",
        version=1,
        digest=found.digest,
    )
    changed = dataclasses.replace(record, **changes)
    return f"tenants/acme/models/r8/evidence/1/{found.digest}", sign_evidence(changed, versions.key)


@pytest.mark.parametrize(
    "changes", [{"tenant": "other"}, {"model": "other"}, {"version": 2}, {"added_by": "operator:cy"}]
)
async def test_validly_signed_evidence_of_another_place_is_data_loss(versions, make, refused, changes):
    key, envelope = await moved_evidence(versions, make, **changes)
    versions.store.objects[key] = envelope
    async with versions.client() as client, refused("DATA_LOSS", "evidence/1"):
        await client.evidence(1)


async def test_evidence_of_other_content_or_another_key_or_flipped_is_data_loss(versions, make, refused):
    key, _ = await moved_evidence(versions, make)
    good = versions.store.objects.pop(key)
    other = dataclasses.replace(
        verify_evidence(
            good,
            VerifyingKeys([versions.key.public_key]),
            tenant="acme",
            model="r8",
            version=1,
            digest=key.rpartition("/")[2],
        ),
        root_sha256="1" * 64,
    )
    planted = {
        f"tenants/acme/models/r8/evidence/1/{other.digest}": sign_evidence(other, versions.key),
        key: good[:200] + bytes([good[200] ^ 1]) + good[201:],
        f"{key[:-1]}x": good,
        f"tenants/acme/models/r8/evidence/1/{other.digest[::-1]}": sign_evidence(other, SigningKey.generate()),
    }
    async with versions.client() as client:
        for name, data in planted.items():
            versions.store.objects[name] = data
            async with refused("DATA_LOSS", "evidence/1"):
                await client.evidence(1)
            del versions.store.objects[name]
        assert await client.evidence(1) == []
