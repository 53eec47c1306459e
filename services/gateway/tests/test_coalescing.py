# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizer calls that come at once are one call, and nobody is worse off for the company."""

import asyncio
import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman_common.errors import InvalidArgumentError, UnavailableError
from dragoman_gateway.coalescing import CoalescingTokenizer
from dragoman_gateway.contracts import TokenizerContract
from dragoman_gateway.memory import MemoryTokenizer
from dragoman_gateway.outcome import ContractBrokenError
from dragoman_gateway.version import VersionKey
from inference import oip_pb2

KEY = VersionKey(tenant="local", model="r8", number=1, root_sha256="1" * 64)


class Gate:
    """A tokenizer whose calls wait for the test. `calls`: (version, tenant acted for, texts, seconds given)."""

    def __init__(self):
        self.inner = MemoryTokenizer()
        self.calls = []
        self.open = asyncio.Event()
        self.cancelled = 0
        self.acting = []
        self.damage = None

    @contextmanager
    def on_behalf(self, tenant, left_s):
        self.acting.append((tenant, left_s))
        yield

    async def encode(self, key, texts):
        self.calls.append((key, list(texts)))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        encoded = await self.inner.encode(key, texts)
        return self.damage(encoded) if self.damage else encoded


class Desk:
    """A joining tokenizer over a gate, and what its callers have left."""

    def __init__(self, **limits):
        self.gate = Gate()
        self.left_s = 30.0
        self.tokenizer = CoalescingTokenizer(
            self.gate,
            on_behalf=self.gate.on_behalf,
            remaining_s=lambda: self.left_s,
            **({"max_rows": 8, "max_bytes": 1_000, "max_in_flight": 1} | limits),
        )

    async def ask(self, *texts, key=KEY):
        task = asyncio.ensure_future(self.tokenizer.encode(key, texts))
        await settled()
        return task

    def sent(self):
        return [texts for _, texts in self.gate.calls]


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def desk():
    return Desk()


async def expected(*texts):
    return await MemoryTokenizer().encode(KEY, texts)


def same(one, other):
    np.testing.assert_array_equal(one.token_ids, other.token_ids)
    np.testing.assert_array_equal(one.lengths, other.lengths)
    assert (one.truncated, one.num_unknown) == (other.truncated, other.num_unknown)


class TestCoalescingTokenizer(TokenizerContract):
    @pytest.fixture
    def tokenizer(self):
        made = Desk()
        made.gate.open.set()
        return made.tokenizer

    @pytest.fixture
    def key(self):
        return KEY


async def test_nobody_waits_while_nothing_is_under_way(desk):
    desk.gate.open.set()
    await desk.tokenizer.encode(KEY, ["oil"])
    await desk.tokenizer.encode(KEY, ["grain"])
    assert desk.sent() == [["oil"], ["grain"]]
    # In the caller's own name, deadline and trace: nothing was put in their place.
    assert desk.gate.acting == []


async def test_calls_that_come_meanwhile_are_one_and_each_gets_its_rows(desk):
    calls = (["oil"], ["grain exports", "a b c"], ["corn"], ["x y"])
    tasks = [await desk.ask(*texts) for texts in calls]
    assert desk.sent() == [["oil"]]
    desk.gate.open.set()
    answers = await asyncio.gather(*tasks)
    assert desk.sent() == [["oil"], ["grain exports", "a b c", "corn", "x y"]]
    for answer, texts in zip(answers, calls, strict=True):
        same(answer, await expected(*texts))


@given(sizes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), min_size=2, max_size=9))
def test_results_are_split_right_and_bounds_are_kept(sizes):
    async def check():
        desk = Desk()
        calls = [
            [" ".join(f"w{call}x{row}" for _ in range(words)) for row, words in enumerate(rows)]
            for call, rows in enumerate(sizes)
        ]
        tasks = [await desk.ask(*texts) for texts in calls]
        desk.gate.open.set()
        for texts, answer in zip(calls, await asyncio.gather(*tasks), strict=True):
            same(answer, await expected(*texts))
        for sent in desk.sent():
            assert len(sent) <= 8 or sent in calls
        assert [text for sent in desk.sent() for text in sent] == [text for texts in calls for text in texts]
        assert not desk.tokenizer._lanes

    asyncio.run(check())


async def test_a_call_is_bounded_in_bytes(desk):
    tasks = [await desk.ask("oil"), await desk.ask("é" * 300), await desk.ask("ü" * 250), await desk.ask("corn")]
    desk.gate.open.set()
    await asyncio.gather(*tasks)
    assert [len(sent) for sent in desk.sent()] == [1, 1, 2]


async def test_no_tenant_or_version_shares_a_call_with_another(desk):
    others = [dataclasses.replace(KEY, **change) for change in ({"tenant": "acme"}, {"root_sha256": "2" * 64})]
    tasks = [await desk.ask(f"{place} {key.tenant}", key=key) for place in range(3) for key in (KEY, *others)]
    desk.gate.open.set()
    await asyncio.gather(*tasks)
    assert len(desk.gate.calls) == 6
    for key, texts in desk.gate.calls:
        assert {text.split()[1] for text in texts} == {key.tenant}
    assert sorted(tenant for tenant, _ in desk.gate.acting) == ["acme", "local", "local"]


async def test_a_cancelled_caller_takes_no_other_along(desk):
    first, second, third, fourth = [await desk.ask(text) for text in ("a", "b", "c", "d")]
    # Before its call is made, and while the first one's own is under way.
    third.cancel()
    first.cancel()
    await settled()
    assert desk.sent() == [["a"], ["b", "d"]]
    # While it is under way.
    fourth.cancel()
    await settled()
    desk.gate.open.set()
    same(await second, await expected("b"))
    assert desk.gate.cancelled == 1


async def test_a_call_that_all_have_left_is_cancelled_and_the_next_is_made(desk):
    first, second, third = [await desk.ask(text) for text in ("a", "b", "c")]
    first.cancel()
    await settled()
    last = await desk.ask("d")
    second.cancel()
    third.cancel()
    await settled()
    assert desk.gate.cancelled == 2
    desk.gate.open.set()
    same(await last, await expected("d"))
    assert desk.sent() == [["a"], ["b", "c"], ["d"]]


async def test_a_refused_row_fails_its_own_call_and_names_its_own_row(desk):
    first, good, bad = await desk.ask("a"), await desk.ask("b", "c"), await desk.ask("d", " ")
    desk.gate.open.set()
    await first
    same(await good, await expected("b", "c"))
    with pytest.raises(InvalidArgumentError, match=r"texts\[1\]"):
        await bad


async def test_a_tokenizer_that_is_away_is_away_for_all(desk):
    tasks = [await desk.ask(text) for text in ("a", "b", "c")]
    desk.gate.inner.failures = [UnavailableError("away"), UnavailableError("away")]
    desk.gate.open.set()
    assert [type(answer) for answer in await asyncio.gather(*tasks, return_exceptions=True)] == [UnavailableError] * 3
    same(await desk.tokenizer.encode(KEY, ["d"]), await expected("d"))


async def test_an_answer_that_does_not_fit_reaches_nobody(desk):
    tasks = [await desk.ask(text) for text in ("a", "b", "c")]
    desk.gate.damage = lambda encoded: dataclasses.replace(encoded, truncated=encoded.truncated[:-1])
    desk.gate.open.set()
    # The first came alone: the pipeline holds its answer to the contract.
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [ContractBrokenError] * 2


async def test_a_joined_call_has_the_time_of_its_most_patient_caller(desk):
    tasks = []
    for desk.left_s in (30.0, 1.0, 20.0, 5.0):
        tasks.append(await desk.ask("a"))
    desk.gate.open.set()
    await asyncio.gather(*tasks)
    ((tenant, left_s),) = desk.gate.acting
    assert tenant == "local"
    assert left_s == pytest.approx(20.0, abs=0.5)


async def test_so_many_calls_may_be_under_way():
    desk = Desk(max_in_flight=2)
    tasks = [await desk.ask(text) for text in ("a", "b", "c", "d")]
    assert desk.sent() == [["a"], ["b"]]
    desk.gate.open.set()
    await asyncio.gather(*tasks)
    assert desk.sent() == [["a"], ["b"], ["c", "d"]]


async def test_over_the_wire_joined_calls_carry_the_tenant_and_no_users_deadline(gateway):
    """The wired gateway: a burst of calls is few calls of the tokenizer, all for the tenant, all answered right."""
    tokenizer = gateway.platform.tokenizer
    tokenizer.is_open.clear()
    calls = [asyncio.ensure_future(gateway.classify(f"oil {number}", f"grain {number}")) for number in range(40)]
    await gateway.eventually(lambda: len(tokenizer.tenants) == 2)
    # What is asked after them on their connection is answered after they have come in.
    await gateway.oip.ServerLive(oip_pb2.ServerLiveRequest(), metadata=gateway.auth(), timeout=5)
    tokenizer.is_open.set()
    answers = await asyncio.gather(*calls)
    assert set(tokenizer.tenants) == {"local"}
    assert len(tokenizer.tenants) < len(calls)
    for number, answer in enumerate(answers):
        alone = await gateway.classify(f"oil {number}", f"grain {number}")
        assert [list(row.scores) for row in answer.rows] == [list(row.scores) for row in alone.rows]
