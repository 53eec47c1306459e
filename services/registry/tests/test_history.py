# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Any sequence of calls leaves what a record of every call says, at every time of it, on a folder and on MinIO.

DRAGOMAN_HISTORY_EXAMPLES and _STEPS make a longer run of it (bench/RESULTS.md says which was made).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.settings import Secret
from dragoman_common.testing import FakeClock
from dragoman_registry import __main__ as wiring
from dragoman_registry import convert, publish_intent
from dragoman_registry.folder import FolderStore
from dragoman_registry.ports import ObjectStore
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from services.registry.tests.history_model import CONTENTS, NUM_ROWS, OK, Content, RegistryModel, Rule, Said

EXAMPLES = int(os.environ.get("DRAGOMAN_HISTORY_EXAMPLES", "8"))
STEPS = int(os.environ.get("DRAGOMAN_HISTORY_STEPS", "30"))
HOUR_S = 3600.0
WAITS = {"gc_wait_s": 2 * HOUR_S, "rollback_window_s": 5 * HOUR_S, "intent_lifetime_s": 3 * HOUR_S}
NTH = st.integers(0, 12)
ALIASES = ("prod", "canary")
PEOPLE = ("operator", "operator.ada", "operator.bo")
QUALITY = {
    "none": pb.QUALITY_RULE_NONE,
    "evaluated": pb.QUALITY_RULE_EVALUATED,
    "not worse": pb.QUALITY_RULE_NOT_WORSE,
    "better": pb.QUALITY_RULE_BETTER,
}
POLICIES = (
    (),
    (Rule("prod", "none", may_be_incompatible=True),),
    (Rule("prod", "better"), Rule("canary", "none")),
    (Rule("prod", "not worse", num_approvals=1),),
    (Rule("prod", "none", may_be_incompatible=True, num_approvals=2),),
    (Rule("prod", "evaluated", max_p99_us=5000), Rule("canary", "evaluated", min_robustness=9000)),
    (Rule("prod", "not worse", max_size_bytes=1), Rule("canary", "not worse")),
)
SAYINGS = (
    Said("robustness", "", value=950),
    Said("robustness", "", value=800),
    Said("measurement", "", value=4000),
    Said("measurement", "", value=9000),
    Said("approval", ""),
    Said("approval", "", alias="prod"),
    Said("approval", "", alias="canary"),
)


class Machine(RuleBasedStateMachine):
    """Each rule makes one call to the registry and to the model of it, and compares the outcomes."""

    # Set by the test.
    start: Callable[..., Any]
    make: Any
    open_store: Callable[[], AbstractContextManager[ObjectStore]]
    use_clock: Callable[[FakeClock], None]

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
        type(self).use_clock(self.clock)
        self.model = RegistryModel(
            self.clock.now(), **dict(zip(("gc_wait", "rollback_window", "intent"), _durations(), strict=True))
        )
        self.runner = asyncio.Runner()
        self.opened = type(self).open_store()
        self.store = self.opened.__enter__()
        self.serve()
        for content, who in zip(CONTENTS[:4], (*PEOPLE, PEOPLE[0]), strict=True):
            self.publish_as(content, f"p{CONTENTS.index(content)}", who, 0)
        # Every example has some history, whatever rules are drawn.
        for alias, nth in (("prod", 4), ("prod", 2), ("canary", 1)):
            self.promote(alias, nth, "operator")
            self.pass_time(1.0)
        # Content that lost its number; and labels in another order, which nothing but their order speaks against.
        self.publish_as(CONTENTS[4], "p4", "operator", 2)
        self.set_policy(rules=POLICIES[2], who="operator", request=None)
        self.promote("canary", 3, "operator")
        self.set_policy(rules=(), who="operator", request=None)

    def serve(self) -> None:
        ready: asyncio.Future[dict[str, Any]] = self.runner.get_loop().create_future()
        self.over = asyncio.Event()

        async def served() -> None:
            async with type(self).start(self.store, **WAITS) as registry:
                # One client a person, each with a channel of its own.
                async with _all({name: registry.client(name) for name in PEOPLE}) as clients:
                    ready.set_result(clients)
                    await self.over.wait()

        self.serving = self.runner.get_loop().create_task(served())
        self.clients = self.run(_first(ready, self.serving))
        self.client = self.clients["operator"]

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def outcome(self, call: Awaitable[Any]) -> tuple[str, Any]:
        async def made() -> tuple[str, Any]:
            try:
                return OK, await call
            except grpc.RpcError as error:
                return error.code().name, error.details()

        return self.run(made())

    def compare(self, call: Awaitable[Any], expected: str) -> Any:
        code, reply = self.outcome(call)
        assert code == expected, reply
        return reply if code == OK else None

    @rule(
        content=st.sampled_from(CONTENTS),
        who=st.sampled_from(PEOPLE),
        number=st.sampled_from((0, 0, 0, 2, 5)),
        of=st.sampled_from((None, None, None, 0)),
        breaks_off=st.sampled_from((False, False, True)),
    )
    def publish(self, content: Content, who: str, number: int, of: int | None, breaks_off: bool) -> None:
        publish_id = f"p{CONTENTS.index(content) if of is None else of}"
        if breaks_off and content.num_wrong is not None:
            self.break_off(self.filled(content), publish_id)
        else:
            self.publish_as(content, publish_id, who, number)

    def publish_as(self, content: Content, publish_id: str, who: str, number: int) -> None:
        content = self.filled(content)
        held = self.model.number_of(content)
        expected = self.model.publish(content, publish_id, number, _by(who))
        code, reply = self.outcome(self.clients[who].publish(content.files, publish_id=publish_id, number=number))
        assert code == expected, reply
        if code == OK:
            assert (reply.version.number, reply.created) == (self.model.number_of(content), not held)

    def break_off(self, content: Content, publish_id: str) -> None:
        messages = self.make.upload(content.files, publish_id=publish_id)
        expected = self.model.publish(content, publish_id, 0, _by("operator"), is_broken=True)
        self.compare(self.client.send(messages[:-1]), expected)

    @rule(
        alias=st.sampled_from(ALIASES),
        nth=NTH,
        who=st.sampled_from(PEOPLE),
        request=st.sampled_from((None, None, None, 0, 1, 2)),
        behind=st.sampled_from((None, None, None, 0, 1)),
    )
    def move(self, alias: str, nth: int, who: str, request: int | None, behind: int | None) -> None:
        number = self.nth(nth)
        length = len(self.model.events.get(alias, []))
        expected = None if behind is None else max(0, length - behind)
        request_id = f"fresh{self.num_calls()}" if request is None else f"q{request}"
        self.move_to(number, alias, who, request_id, expected)

    @rule(alias=st.sampled_from(ALIASES), nth=st.integers(1, 12), who=st.sampled_from(PEOPLE))
    def promote(self, alias: str, nth: int, who: str) -> None:
        self.move_to(self.nth(nth), alias, who, f"fresh{self.num_calls()}", None)

    @rule(nth=st.integers(1, 12), who=st.sampled_from(PEOPLE), rules=st.sampled_from(POLICIES))
    def set_policy_measure_approve_and_promote(self, nth: int, who: str, rules: tuple[Rule, ...]) -> None:
        self.set_policy(rules, "operator.bo", None)
        for said in SAYINGS[0:5:2]:
            self.say(nth, said, "operator.ada")
        self.promote("prod", nth, who)

    def move_to(self, number: int, alias: str, who: str, request_id: str, expected: int | None) -> None:
        reason = f"the reason of {request_id}"
        code = self.model.move(alias, number, _by(who), request_id, expected=expected, reason=reason)
        how = {} if expected is None else {"expected_sequence": expected}
        reply = self.compare(
            self.clients[who].move(number, alias=alias, request_id=request_id, reason=reason, **how), code
        )
        if reply:
            [told] = [event for event in self.model.events[alias] if event.request_id == request_id]
            self.same_event(reply, told)

    @rule(rules=st.sampled_from(POLICIES), who=st.sampled_from(PEOPLE), request=st.sampled_from((None, None, 0)))
    def set_policy(self, rules: tuple[Rule, ...], who: str, request: int | None) -> None:
        request_id = f"fresh{self.num_calls()}" if request is None else f"q{request}"
        expected = self.model.set_policy(rules, _by(who), request_id)
        self.compare(self.clients[who].rule(*map(_rule_to_pb, rules), request_id=request_id), expected)

    @rule(nth=NTH, said=st.sampled_from(SAYINGS), who=st.sampled_from(PEOPLE))
    def say(self, nth: int, said: Said, who: str) -> None:
        number = self.nth(nth)
        said = replace(said, by=_by(who))
        is_new = number in self.model.versions and said not in dict(self.model.versions[number].said)
        expected = self.model.say(number, said)
        reply = self.compare(self.clients[who].say(number, said.kind, self.document(said)), expected)
        if reply:
            assert reply.created == is_new

    # Rare, or soon nothing else would be left.
    @precondition(lambda self: 3 * len(self.model.withdrawn()) < len(self.model.versions))
    @rule(nth=NTH, who=st.sampled_from(PEOPLE))
    def withdraw(self, nth: int, who: str) -> None:
        number = self.nth(nth)
        reason = f"withdrawn by call {self.num_calls()}"
        expected = self.model.withdraw(number, _by(who), reason)
        reply = self.compare(self.clients[who].withdraw(number, reason=reason), expected)
        if reply:
            self.same_tombstone(reply, number)

    @rule()
    def collect(self) -> None:
        dry = self.run(self.client.gc(dry_run=True))
        found = self.run(self.client.gc())
        told = self.model.collect()
        assert (found.num_condemned, found.num_deleted, found.num_kept) == (
            told.num_condemned,
            told.num_deleted,
            told.num_kept,
        )
        assert (dry.num_condemned, dry.num_deleted) == (found.num_condemned, found.num_deleted)

    @rule(seconds=st.sampled_from((1.0, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, -HOUR_S)))
    def pass_time(self, seconds: float) -> None:
        if seconds > 0:
            self.clock.advance(seconds)
        else:
            # Somebody sets the clock back; the monotonic one knows nothing of it.
            self.clock._now += timedelta(seconds=seconds)
        self.model.now = self.clock.now()

    @rule()
    def restart(self) -> None:
        self.stop()
        self.serve()
        self.everything_agrees()

    @precondition(lambda self: any(self.model.events.values()))
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        alias = data.draw(st.sampled_from(sorted(self.model.events)))
        times = [event.time for event in self.model.events[alias]]
        back = data.draw(st.sampled_from((0, 1, -1, 60_000_000)))
        self.same_at(alias, data.draw(st.sampled_from(times)) - timedelta(microseconds=back))

    @rule(data=st.data())
    def download(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.versions)))
        path = data.draw(st.sampled_from(sorted(self.model.versions[number].content.files)))
        self.same_file(number, path)

    @invariant()
    def lists_and_aliases_agree(self) -> None:
        assert self.run(self.client.numbers()) == sorted(self.model.versions, reverse=True)
        for alias in ALIASES:
            self.same_at(alias, None)

    def everything_agrees(self) -> None:
        reply = self.run(_call(self.client.stub.ListVersions(pb.ListVersionsRequest(model="r8", page_size=1000))))
        for version in reply.versions:
            told = self.model.versions[version.number]
            assert (version.publisher, _time(version.publish_time)) == (told.publisher, told.time)
            assert {file.path for file in version.files} == set(told.content.files)
            assert version.HasField("tombstone") == (told.withdrawn is not None)
            if told.withdrawn:
                self.same_tombstone(version.tombstone, version.number)
        for number, told in self.model.versions.items():
            for path in told.content.files:
                self.same_file(number, path)
            said = self.run(self.client.evidence(number))
            assert sorted((item.kind, item.document, item.added_by, _time(item.add_time)) for item in said) == sorted(
                (one.kind, self.document(one), one.by, time) for one, time in told.said
            )
        for alias, events in self.model.events.items():
            request = pb.ListAliasEventsRequest(model="r8", alias=alias, page_size=1000)
            reply = self.run(_call(self.client.stub.ListAliasEvents(request)))
            for event, told in zip(reply.events, events, strict=True):
                self.same_event(event, told)
                for microseconds in (-1, 0, 1):
                    self.same_at(alias, told.time + timedelta(microseconds=microseconds))
        self.policy_agrees()

    def policy_agrees(self) -> None:
        call = _call(self.client.stub.GetGatePolicy(pb.GetGatePolicyRequest(model="r8")))
        reply = self.compare(call, OK if self.model.policies else "NOT_FOUND")
        if reply:
            told = self.model.policies[-1]
            assert (reply.policy.sequence, reply.policy.set_by, _time(reply.policy.set_time)) == (
                len(self.model.policies),
                told.by,
                told.time,
            )
            assert sorted(reply.policy.rules, key=lambda rule: rule.alias) == sorted(
                map(_rule_to_pb, told.rules), key=lambda rule: rule.alias
            )

    def same_at(self, alias: str, time: datetime | None) -> None:
        told = self.model.event_at(alias, time)
        at_time = None if time is None else convert.time_to_pb(time)
        event = self.compare(self.client.alias(alias, at_time=at_time), OK if told else "NOT_FOUND")
        if event:
            self.same_event(event, told)

    def same_event(self, event: pb.AliasEvent, told: Any) -> None:
        assert (event.sequence, event.stable_version, event.moved_by, _time(event.move_time), event.reason) == (
            told.sequence,
            told.version,
            told.by,
            told.time,
            told.reason,
        )

    def same_tombstone(self, tombstone: pb.Tombstone, number: int) -> None:
        told = self.model.versions[number].withdrawn
        assert (tombstone.reason, tombstone.withdrawn_by, _time(tombstone.withdraw_time)) == (
            told.reason,
            told.by,
            told.time,
        )

    def same_file(self, number: int, path: str) -> None:
        told = self.model.versions[number]
        found = self.compare(self.client.download(number, path), "FAILED_PRECONDITION" if told.withdrawn else OK)
        assert told.withdrawn or found == told.content.files[path]

    def filled(self, content: Content) -> Content:
        if content not in FILLED:
            evaluated = None
            labels = self.make.labels[::-1] if content.is_swapped else self.make.labels
            if content.num_wrong is not None:
                evaluated = self.make.evaluation(self.make.bits(NUM_ROWS, content.num_wrong), labels=labels)
            files = self.make.files(content.name.encode(), labels=labels, evaluated=evaluated)
            FILLED[content] = replace(content, files=files)
        return FILLED[content]

    def document(self, said: Said) -> str:
        if said.kind == "robustness":
            suite = {"name": "typos", "digest": "a" * 64, "num_rows": 1000, "num_correct_clean": 970}
            return str(self.make.document("robustness", suites=[{**suite, "num_correct": said.value}]))
        if said.kind == "measurement":
            return str(self.make.document("measurement", p99_us=said.value))
        return str(self.make.document("approval", alias=said.alias))

    def nth(self, index: int) -> int:
        """The number of a version that is there; of none for index 0."""
        numbers = sorted(self.model.versions)
        return numbers[index % len(numbers)] if index else 9

    def num_calls(self) -> int:
        self.count = getattr(self, "count", 0) + 1
        return self.count

    def stop(self) -> None:
        self.over.set()
        self.run(_done(self.serving))

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.everything_agrees()
        finally:
            self.stop()
            self.opened.__exit__(None, None, None)
            self.runner.close()


FILLED: dict[Content, Content] = {}


def _durations() -> list[timedelta]:
    return [timedelta(seconds=WAITS[name]) for name in ("gc_wait_s", "rollback_window_s", "intent_lifetime_s")]


def _by(who: str) -> str:
    return f"operator:{who.removeprefix('operator.')}"


def _time(stamp: Any) -> datetime:
    return convert.time_from_pb(stamp, field="time")


def _rule_to_pb(rule: Rule) -> pb.GateRule:
    return pb.GateRule(
        alias=rule.alias,
        quality=QUALITY[rule.quality],
        min_robustness_basis_points=rule.min_robustness,
        max_size_bytes=rule.max_size_bytes,
        max_p99_us=rule.max_p99_us,
        may_be_incompatible=rule.may_be_incompatible,
        num_approvals=rule.num_approvals,
    )


async def _call(call: Awaitable[Any]) -> Any:
    return await call


async def _done(task: asyncio.Task[None]) -> None:
    await task


async def _first(ready: asyncio.Future[Any], serving: asyncio.Task[None]) -> Any:
    """What the server says once it serves, or its error."""
    await asyncio.wait((ready, serving), return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        serving.result()
    return ready.result()


class _all:  # noqa: N801 - used like a function
    """Enter all of some async context managers, and leave them in reverse."""

    def __init__(self, managers: dict[str, Any]) -> None:
        self._managers = managers

    async def __aenter__(self) -> dict[str, Any]:
        return {name: await manager.__aenter__() for name, manager in self._managers.items()}

    async def __aexit__(self, *error: object) -> None:
        for manager in reversed(self._managers.values()):
            await manager.__aexit__(*error)


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.slow)])
def open_store(request, tmp_path_factory):
    """What opens an empty store; each example has its own."""

    @contextmanager
    def folder():
        yield FolderStore(tmp_path_factory.mktemp("store"))

    @contextmanager
    def bucket():
        server = request.getfixturevalue("minio")
        given = {"s3_access_key_id": Secret(server.access_key), "s3_secret_access_key": Secret(server.secret_key)}
        store = S3Store(
            Bucket(name=server.make_bucket(), endpoint=server.endpoint, region=server.region), S3Settings(**given)
        )
        try:
            yield store
        finally:
            store.close()

    return folder if request.param == "folder" else bucket


def test_history_equals_a_record_of_every_call(start, make, open_store, monkeypatch):
    # One registry, one call at a time: nobody deletes while a publisher waits.
    monkeypatch.setattr(publish_intent, "SPARE_WAIT_S", 0.0)

    class OnThisStore(Machine):
        pass

    OnThisStore.start, OnThisStore.make = staticmethod(start), make
    OnThisStore.open_store = staticmethod(open_store)
    OnThisStore.use_clock = staticmethod(lambda clock: monkeypatch.setattr(wiring, "SystemClock", lambda: clock))
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=EXAMPLES <= 8,
            deadline=None,
            # Shrinking makes hundreds of runs of a second each; the steps as they came are short enough to read.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
