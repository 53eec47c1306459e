# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every rule of the gate, refused and passed by raw calls: a table of what is missing and of what then makes it pass.

Version 1 (12 of 400 test rows wrong) is in production. Each case makes a version 2 that fails one rule only,
sees the move refused and the alias where it was, then does what the rule asks for, and sees the same move pass.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dragoman.registry.v1 import registry_pb2 as pb

MODEL = "tenants/acme/models/r8"
WRONG = 12


@dataclass
class World:
    """Who acts in a case: ada publishes, bo moves, cy and the operator look on."""

    ada: Any
    bo: Any
    cy: Any
    operator: Any
    make: Any
    objects: dict[str, bytes]

    def evaluation(self, num_wrong: int, **how: Any) -> bytes:
        return self.make.evaluation(self.make.bits(400, num_wrong), **how)

    async def publish(self, **how: Any) -> None:
        """Version 2, as good as version 1 unless told otherwise."""
        await self.ada.publish(
            self.make.files(b"second", **({"evaluated": self.evaluation(WRONG)} | how)), publish_id="p2"
        )

    async def rule(self, **changes: Any) -> None:
        await self.cy.rule(pb.GateRule(**({"alias": "prod", "quality": pb.QUALITY_RULE_NONE} | changes)))

    async def say(self, kind: str, by: Any = None, **changes: Any) -> None:
        await (by or self.cy).say(2, kind, self.make.document(kind, **changes))

    def size_bytes(self, version: pb.ModelVersion) -> int:
        return sum(file.size_bytes for file in version.files)


Step = Callable[[World], Awaitable[None]]


@dataclass
class Case:
    """A rule that version 2 does not meet, and what makes the same move pass."""

    refused: str
    given: Step
    then: Step
    passed: str
    code: str = "FAILED_PRECONDITION"


CASES: dict[str, Case] = {}


def case(name: str, *, refused: str, passed: str, code: str = "FAILED_PRECONDITION") -> Callable[..., None]:
    """Add the pair of steps that the decorated function returns."""

    def add(steps: Callable[[], tuple[Step, Step]]) -> None:
        given, then = steps()
        CASES[name] = Case(refused=refused, given=given, then=then, passed=passed, code=code)

    return add


@case("quality evaluated: never measured", refused="no evaluation on a test split", passed="accuracy 0.1000")
def _evaluated():
    async def given(world):
        await world.rule(quality=pb.QUALITY_RULE_EVALUATED)
        await world.publish(evaluated=None)

    async def then(world):
        await world.cy.say(2, "evaluation", world.evaluation(360))

    return given, then


@case("quality not worse: significantly worse", refused="significantly worse", passed="p(worse) = ")
def _worse():
    async def given(world):
        await world.rule(quality=pb.QUALITY_RULE_NOT_WORSE)
        await world.publish(evaluated=None)
        await world.cy.say(2, "evaluation", world.evaluation(WRONG + 6))

    async def then(world):
        [found] = await world.cy.evidence(2)
        await world.cy.say(
            2,
            "retraction",
            f'{{"format": "dragoman.retraction/1", "digest": "{found.digest}", "reason": "wrong rows"}}',
        )
        await world.cy.say(2, "evaluation", world.evaluation(WRONG))

    return given, then


@case("quality not worse: other test rows", refused="different test rows", passed="p(worse) = ")
def _other_rows():
    async def given(world):
        await world.rule(quality=pb.QUALITY_RULE_NOT_WORSE)
        await world.publish(evaluated=world.evaluation(0, digest="b" * 64))

    async def then(world):
        await world.cy.say(2, "evaluation", world.evaluation(WRONG))

    return given, then


@case("quality not worse: a test set of production's is missing", refused="not evaluated on", passed="r52")
def _missing_set():
    async def given(world):
        await world.rule(quality=pb.QUALITY_RULE_NOT_WORSE)
        await world.cy.say(1, "evaluation", world.evaluation(WRONG, name="r52"))
        await world.publish()

    async def then(world):
        await world.cy.say(2, "evaluation", world.evaluation(WRONG, name="r52"))

    return given, then


@case("quality better: as good as before", refused="not significantly better", passed="r52")
def _better():
    async def given(world):
        await world.rule(quality=pb.QUALITY_RULE_BETTER)
        await world.publish()

    async def then(world):
        for version, num_wrong in ((1, WRONG), (2, WRONG - 5)):
            await world.cy.say(version, "evaluation", world.evaluation(num_wrong, name="r52"))

    return given, then


@case("robustness: never measured", refused="no evidence of robustness", passed="robustness 0.9000")
def _robustness():
    async def given(world):
        await world.rule(min_robustness_basis_points=9000)
        await world.publish()

    async def then(world):
        await world.say("robustness")

    return given, then


@case("robustness: one basis point short", refused="not robust enough", passed="at least 0.9000")
def _fragile():
    async def given(world):
        await world.rule(min_robustness_basis_points=9001)
        await world.publish()
        await world.say("robustness")

    async def then(world):
        await world.rule(min_robustness_basis_points=9000)

    return given, then


@case("size: a byte too large", refused="is too large", passed="size ")
def _size():
    async def given(world):
        await world.publish()
        await world.rule(max_size_bytes=world.size_bytes(await world.cy.get(2)) - 1)

    async def then(world):
        await world.rule(max_size_bytes=world.size_bytes(await world.cy.get(2)))

    return given, then


@case("latency: never measured", refused="no measured latency", passed="p99 4000 us")
def _unmeasured():
    async def given(world):
        await world.rule(max_p99_us=4000)
        await world.publish()

    async def then(world):
        await world.say("measurement")

    return given, then


@case("latency: a microsecond too slow", refused="is too slow", passed="at most 4000 us")
def _slow():
    async def given(world):
        await world.rule(max_p99_us=3999)
        await world.publish()
        await world.say("measurement")

    async def then(world):
        await world.rule(max_p99_us=4000)

    return given, then


def _incompatible(name: str, refused: str, **how: Any) -> None:
    @case(f"compatibility: {name}", refused=refused, passed="nothing asked")
    def _():
        async def given(world):
            await world.rule()
            await world.publish(evaluated=world.evaluation(WRONG, labels=how.get("labels", world.make.labels)), **how)

        async def then(world):
            await world.rule(may_be_incompatible=True)

        return given, then


_incompatible("other labels", "its labels differ", labels=("acq", "earn", "wheat"))
_incompatible("one label more", "added 'wheat'", labels=("acq", "earn", "grain", "wheat"))
_incompatible("labels in another order", "in another order", labels=("earn", "acq", "grain"))
_incompatible("shorter texts", "it takes texts of at most 65535 bytes", max_text_bytes=65535)


def _unapproved(name: str, refused: str, given_by: Step) -> None:
    @case(f"approvals: {name}", refused=refused, passed="approved by 'operator:cy', 'operator:operator'")
    def _():
        async def given(world):
            await world.rule(num_approvals=2)
            await world.publish()
            await given_by(world)

        async def then(world):
            for who in (world.cy, world.operator):
                await world.say("approval", by=who, comment="read it")

        return given, then


async def _nobody(_: World) -> None: ...


async def _one_twice(world: World) -> None:
    for comment in ("a", "b"):
        await world.say("approval", comment=comment)


async def _mover(world: World) -> None:
    await world.say("approval")
    await world.say("approval", by=world.bo)


async def _other_alias(world: World) -> None:
    await world.say("approval", alias="canary")
    await world.say("approval", by=world.operator)


async def _other_version(world: World) -> None:
    for who in (world.cy, world.operator):
        await who.say(1, "approval", world.make.document("approval"))


async def _taken_back(world: World) -> None:
    for who in (world.cy, world.operator):
        await world.say("approval", by=who)
    for item in await world.cy.evidence(2):
        text = f'{{"format": "dragoman.retraction/1", "digest": "{item.digest}", "reason": "no"}}'
        await world.cy.say(2, "retraction", text)


_unapproved("none", "approved by none", _nobody)
_unapproved("the same person twice", "approved by 'operator:cy'; 2", _one_twice)
_unapproved("the mover's own", "approved by 'operator:cy'; 2", _mover)
_unapproved("for another alias", "approved by 'operator:operator'; 2", _other_alias)
_unapproved("of another version", "approved by none", _other_version)
_unapproved("retracted", "approved by none", _taken_back)


def _damaged(name: str, key: str, damage: Callable[[bytes], bytes]) -> None:
    @case(f"signature: {name}", refused="acme/r8/", passed="p99 4000", code="DATA_LOSS")
    def _():
        kept: dict[str, bytes] = {}

        async def given(world):
            await world.rule(max_p99_us=4000)
            await world.publish()
            await world.say("measurement")
            [found] = [path for path in world.objects if path.startswith(f"{MODEL}/{key}")]
            kept.update({found: world.objects[found]})
            world.objects[found] = damage(world.objects[found])

        async def then(world):
            world.objects.update(kept)

        return given, then


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + (b"A" if data[middle : middle + 1] != b"A" else b"B") + data[middle + 1 :]


_damaged("the manifest was changed", "versions/2", _flipped)
_damaged("the manifest is gone behind a model signature", "versions/2", lambda _: b"{}")
_damaged("the model signature was cut off", "versions/2", lambda data: data.replace(b'"sig":"', b'"sig":"A', 1))
_damaged("evidence was changed", "evidence/2/", _flipped)
_damaged("the policy was changed", "policies/1", _flipped)
_damaged("production's manifest was changed", "versions/1", _flipped)


@pytest.fixture
async def world(registry, make):
    async with (
        registry.client("operator.ada") as ada,
        registry.client("operator.bo") as bo,
        registry.client("operator.cy") as cy,
        registry.client() as operator,
    ):
        await ada.publish(make.good(1, num_wrong=WRONG))
        await bo.move(1)
        yield World(ada=ada, bo=bo, cy=cy, operator=operator, make=make, objects=registry.store.objects)


@pytest.mark.parametrize("name", CASES)
async def test_a_move_is_refused_until_its_rule_is_met(world, refused, name):
    item = CASES[name]
    await item.given(world)
    for _ in range(2):
        async with refused(item.code, item.refused):
            await world.bo.move(2)
    if item.code != "DATA_LOSS":
        assert (await world.bo.alias()).sequence == 1
    await item.then(world)
    event = await world.bo.move(2)
    assert (event.sequence, event.stable_version) == (2, 2)
    assert item.passed in event.gate_summary


async def test_a_withdrawn_version_is_refused_for_good(world, refused):
    await world.publish()
    await world.rule()
    await world.cy.withdraw(2)
    async with refused("FAILED_PRECONDITION", "was withdrawn"):
        await world.bo.move(2)
    assert (await world.bo.alias()).sequence == 1


def test_every_part_of_a_rule_is_in_the_table():
    parts = {name.split(":")[0].split(" ")[0] for name in CASES}
    assert parts == {"quality", "robustness", "size", "latency", "compatibility", "approvals", "signature"}
