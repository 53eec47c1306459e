# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a registry should answer, in plain Python: dicts and lists that record every call, and the README's rules.

It shares no code with the registry. A call returns OK or the name of the gRPC code that it should end with. The rules
of the gate hold for the contents of CONTENTS, whose evaluations differ only in how many of the first rows are wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

OK = "OK"
NOT_FOUND, INVALID, EXISTS = "NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS"
REFUSED, ABORTED, DENIED = "FAILED_PRECONDITION", "ABORTED", "PERMISSION_DENIED"

NUM_ROWS = 400
# Of 400 rows: five more wrong are significant (2^-5), and more than four are over a point; 160 is the majority's share.
SIGNIFICANT_ROWS = 5
MAX_LOST_ROWS = 4


@dataclass(frozen=True)
class Content:
    """A package: num_wrong of its test rows (None: not evaluated), and whether its labels come in another order."""

    name: str
    num_wrong: int | None
    is_swapped: bool = False
    files: dict[str, bytes] = field(default_factory=dict, compare=False)


CONTENTS = (
    Content("good", 10),
    Content("also good", 10),
    Content("better", 3),
    Content("swapped", 10, is_swapped=True),
    Content("a bit worse", 13),
    Content("worse", 40),
    Content("hopeless", 220),
    Content("not evaluated", None),
)


@dataclass(frozen=True)
class Rule:
    alias: str
    quality: str
    may_be_incompatible: bool = False
    min_robustness: int = 0
    max_p99_us: int = 0
    max_size_bytes: int = 0
    num_approvals: int = 0


@dataclass(frozen=True)
class Said:
    """A piece of evidence: for robustness rows answered rightly of 1000, for measurement the p99 in microseconds."""

    kind: str
    by: str
    alias: str = ""
    value: int = 0


@dataclass(frozen=True)
class Withdrawn:
    reason: str
    by: str
    time: datetime


@dataclass
class Version:
    number: int
    content: Content
    publisher: str
    time: datetime
    said: list[tuple[Said, datetime]] = field(default_factory=list)
    withdrawn: Withdrawn | None = None

    def values(self, kind: str) -> list[int]:
        return [said.value for said, _ in self.said if said.kind == kind]


@dataclass(frozen=True)
class Event:
    sequence: int
    version: int
    by: str
    time: datetime
    reason: str
    request_id: str


@dataclass(frozen=True)
class Policy:
    rules: tuple[Rule, ...]
    by: str
    time: datetime
    request_id: str


@dataclass
class Collected:
    num_condemned: int = 0
    num_deleted: int = 0
    num_kept: int = 0


class RegistryModel:
    """One model of one tenant."""

    def __init__(self, now: datetime, *, gc_wait: timedelta, rollback_window: timedelta, intent: timedelta) -> None:
        self.now = now
        self.gc_wait, self.rollback_window, self.intent_lifetime = gc_wait, rollback_window, intent
        self.versions: dict[int, Version] = {}
        self.events: dict[str, list[Event]] = {}
        self.policies: list[Policy] = []
        self.blobs: set[bytes] = set()
        # The numbers that a content wanted and other content has.
        self.lost_claims: dict[Content, list[int]] = {}
        self.condemned: dict[bytes | Content, datetime] = {}
        self.intents: list[tuple[str, Content, datetime]] = []

    def publish(self, content: Content, publish_id: str, number: int, by: str, *, is_broken: bool = False) -> str:
        earlier = next((intent for intent in self.intents if intent[0] == publish_id), None)
        if earlier and earlier[1] != content:
            return INVALID
        if earlier is None:
            self.intents.append((publish_id, content, self.now))
        elif self.now - earlier[2] > self.intent_lifetime / 2:
            self.intents.append((f"{publish_id}, again", content, self.now))
        for item in (content, *content.files.values()):
            self.condemned.pop(item, None)
        if is_broken:
            # The evaluation comes last, and the empty card after all that has bytes.
            self.blobs |= set(content.files.values()) - {content.files["evaluation.json"], b""}
            return INVALID
        self.blobs |= set(content.files.values())
        if self.number_of(content):
            return OK
        if number in self.versions:
            lost = self.lost_claims.setdefault(content, [])
            lost += [number] if number not in lost else []
            return EXISTS
        number = number or max(self.versions, default=0) + 1
        self.versions[number] = Version(number=number, content=content, publisher=by, time=self.now)
        return OK

    def withdrawn(self) -> list[int]:
        return [number for number, version in self.versions.items() if version.withdrawn]

    def number_of(self, content: Content) -> int:
        return next((version.number for version in self.versions.values() if version.content == content), 0)

    def move(
        self, alias: str, number: int, by: str, request_id: str, *, expected: int | None = None, reason: str = ""
    ) -> str:
        version = self.versions.get(number)
        if version is None:
            return NOT_FOUND
        chain = self.events.get(alias, [])
        if earlier := next((event for event in chain if event.request_id == request_id), None):
            return OK if earlier.version == number else INVALID
        if version.withdrawn:
            return REFUSED
        if expected not in (None, len(chain)):
            return ABORTED
        if not self._may_move(alias, version, by, chain):
            return REFUSED
        time = max([self.now, *(event.time for event in chain)])
        event = Event(len(chain) + 1, number, by, time, reason, request_id)
        self.events.setdefault(alias, []).append(event)
        return OK

    def event_at(self, alias: str, time: datetime | None) -> Event | None:
        found = [event for event in self.events.get(alias, []) if time is None or event.time <= time]
        return found[-1] if found else None

    def set_policy(self, rules: Sequence[Rule], by: str, request_id: str) -> str:
        if not self.versions:
            return NOT_FOUND
        if earlier := next((policy for policy in self.policies if policy.request_id == request_id), None):
            return OK if earlier.rules == tuple(rules) else INVALID
        time = max([self.now, *(policy.time for policy in self.policies)])
        self.policies.append(Policy(tuple(rules), by, time, request_id))
        return OK

    def say(self, number: int, said: Said) -> str:
        version = self.versions.get(number)
        if version is None:
            return NOT_FOUND
        if said.kind == "approval" and said.by == version.publisher:
            return DENIED
        if said not in [earlier for earlier, _ in version.said]:
            version.said.append((said, self.now))
        return OK

    def withdraw(self, number: int, by: str, reason: str) -> str:
        version = self.versions.get(number)
        if version is None:
            return NOT_FOUND
        if version.withdrawn:
            return OK
        if any(chain[-1].version == number for chain in self.events.values()):
            return REFUSED
        version.withdrawn = Withdrawn(reason, by, self.now)
        return OK

    def collect(self) -> Collected:
        result = Collected()
        is_expired = [self.now - time > self.intent_lifetime for _, _, time in self.intents]
        held = [content for (_, content, _), gone in zip(self.intents, is_expired, strict=True) if not gone]
        held += [
            version.content
            for version in self.versions.values()
            if not version.withdrawn or self.now - version.withdrawn.time < self.rollback_window
        ]
        referenced = {data for content in held for data in content.files.values()}
        for data in sorted(self.blobs):
            if data in referenced:
                result.num_kept += 1
                self.condemned.pop(data, None)
            elif self._judge(data, 1, result):
                self.blobs.discard(data)
        for content, lost in list(self.lost_claims.items()):
            # Of a content that is held, or on its way, no claim is garbage.
            if content in held or self.number_of(content):
                self.condemned.pop(content, None)
            elif self._judge(content, len(lost), result):
                del self.lost_claims[content]
        result.num_deleted += sum(is_expired)
        self.intents = [intent for intent, gone in zip(self.intents, is_expired, strict=True) if not gone]
        return result

    def _judge(self, item: bytes | Content, num_objects: int, result: Collected) -> bool:
        """Count what is garbage now; return whether it goes."""
        if item in self.condemned and self.now - self.condemned[item] >= self.gc_wait:
            result.num_deleted += num_objects
            del self.condemned[item]
            return True
        result.num_condemned += num_objects
        self.condemned.setdefault(item, self.now)
        return False

    def _may_move(self, alias: str, version: Version, by: str, chain: Sequence[Event]) -> bool:
        if any(event.version == version.number for event in chain):
            return True
        production = self.versions[chain[-1].version] if chain else None
        rule = self._rule_for(alias, by)
        return all(self._holds(rule, version, production, by))

    def _holds(self, rule: Rule, version: Version, production: Version | None, by: str) -> Iterable[bool]:
        if rule.max_size_bytes:
            yield sum(map(len, version.content.files.values())) <= rule.max_size_bytes
        if production and not rule.may_be_incompatible:
            yield version.content.is_swapped == production.content.is_swapped
        yield _is_good(rule.quality, version.content.num_wrong, production and production.content.num_wrong)
        if rule.min_robustness:
            yield min(version.values("robustness"), default=-1) * 10 >= rule.min_robustness
        if rule.max_p99_us:
            yield 0 < max(version.values("measurement"), default=0) <= rule.max_p99_us
        if rule.num_approvals:
            approvers = {
                said.by for said, _ in version.said if said.kind == "approval" and said.alias in ("", rule.alias)
            }
            yield len(approvers - {version.publisher, by}) >= rule.num_approvals

    def _rule_for(self, alias: str, by: str) -> Rule:
        others = list(self.policies)
        while others and others[-1].by == by:
            others.pop()
        rule, before = _rule(self.policies, alias), _rule(others, alias)
        return replace(rule, num_approvals=max(rule.num_approvals, before.num_approvals))


def _rule(policies: Sequence[Policy], alias: str) -> Rule:
    for rule in policies[-1].rules if policies else ():
        if rule.alias == alias:
            return rule
    if alias == "canary":
        return Rule(alias, "evaluated", may_be_incompatible=True)
    return Rule(alias, "not worse")


def _is_good(quality: str, num_wrong: int | None, before: int | None) -> bool:
    if quality == "none":
        return True
    if num_wrong is None:
        return False
    if quality == "evaluated":
        return True
    if before is None:
        return num_wrong < NUM_ROWS * 4 // 10
    if num_wrong - before > MAX_LOST_ROWS:
        return False
    return quality == "not worse" or before - num_wrong >= SIGNIFICANT_ROWS
