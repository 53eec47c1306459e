# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One prediction, in order. The servers have authenticated the caller before a byte was parsed (user_tokens.py).

    Call -> authorise -> resolve -> admit -> guard input -> cache -> tokenise -> dispatch -> guard output -> record
         -> Answer

The call's deadline is the budget: it is checked before each stage, bounds the whole, and travels on to tokenizer and
worker. OK is answered only after the rows' events are durable; once a version was chosen, a failed call leaves events
too.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dragoman_common.clock import Clock
from dragoman_common.errors import DeadlineExceededError, OverloadedError
from dragoman_gateway.dispatch import Dispatcher
from dragoman_gateway.limits import Limits
from dragoman_gateway.outcome import RowOutcome, check_encoded, outcomes
from dragoman_gateway.policy import Principal, authorise
from dragoman_gateway.ports import Budget, Journal, Tokenizer
from dragoman_gateway.recent import RecentCall, RecentCalls
from dragoman_gateway.record import PredictionRecord
from dragoman_gateway.route import Route, Router
from dragoman_gateway.selector import Selector
from dragoman_gateway.version import ServedVersion, VersionNotPlacedError

_DEADLINE_SLACK_S = 0.05
"""A client whose own timer runs out hangs up, and its message may arrive before our timer does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What a caller asks. `field` is what the caller's protocol calls the texts, for error messages."""

    principal: Principal
    selector: Selector
    texts: Sequence[str]
    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Rows in the order of the call's texts, all by one version."""

    request_id: str
    version: ServedVersion
    rows: tuple[RowOutcome, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accepted:
    """A call once its version is chosen, which is when it begins to leave events."""

    call: Call
    route: Route
    request_id: str
    accept_time: datetime
    accepted_at_s: float


class Pipeline:
    """The stages and what they use. `code_name` names the status of an error, as the caller will see it."""

    def __init__(
        self,
        *,
        router: Router,
        tokenizer: Tokenizer,
        dispatcher: Dispatcher,
        journal: Journal,
        recent: RecentCalls,
        limits: Limits,
        budget: Budget,
        clock: Clock,
        code_name: Callable[[Exception], str],
        max_concurrent_calls: int,
    ) -> None:
        self._router = router
        self._tokenizer = tokenizer
        self._dispatcher = dispatcher
        self._journal = journal
        self._recent = recent
        self._limits = limits
        self._budget = budget
        self._clock = clock
        self._code_name = code_name
        self._max_concurrent_calls = max_concurrent_calls
        self._num_running = 0

    async def classify(self, call: Call) -> Answer:
        """Classify rows of text.

        Raises:
            DragomanError: by stage, with text for the caller.
        """
        if self._num_running >= self._max_concurrent_calls:
            raise OverloadedError(
                f"{self._num_running} calls are being answered, the most at once; retry after the delay"
            )
        self._num_running += 1
        try:
            async with asyncio.timeout(self._budget.remaining_s()):
                return await self._classify(call)
        except TimeoutError as error:
            raise DeadlineExceededError("the deadline passed before the answer was ready; give it more time") from error
        finally:
            self._num_running -= 1

    async def _classify(self, call: Call) -> Answer:
        accept_time, accepted_at_s = self._clock.now(), self._clock.monotonic_s()
        request_id = secrets.token_hex(16)
        self._limits.check_num_rows(len(call.texts), field=call.field)
        authorise(call.principal, call.selector.model)
        for is_last in (False, False, True):
            route = await self._router.resolve(call.principal.tenant, call.selector)
            accepted = _Accepted(
                call=call,
                route=route,
                request_id=request_id,
                accept_time=accept_time,
                accepted_at_s=accepted_at_s,
            )
            try:
                rows = await self._predict(call, route.version)
                break
            except asyncio.CancelledError:
                left_s = self._budget.remaining_s()
                is_late = left_s is not None and left_s <= _DEADLINE_SLACK_S
                code = "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
                self._journal.note(self._failures(accepted, code))
                raise
            except Exception as error:
                # The alias moved while this call was on its way, and its old version left: ask the new one instead.
                if isinstance(error, VersionNotPlacedError) and call.selector.version is None and not is_last:
                    continue
                self._journal.note(self._failures(accepted, self._code_name(error)))
                raise
        await self._journal.record(self._records(accepted, rows))
        version = route.version
        self._recent.remember(
            version.key.tenant,
            request_id,
            RecentCall(model=version.key.model, labels=version.labels, num_rows=len(rows)),
        )
        return Answer(request_id=request_id, version=version, rows=rows)

    async def _predict(self, call: Call, version: ServedVersion) -> tuple[RowOutcome, ...]:
        # Admit: the deadline and the limits; tenant quotas join here.
        self._budget.check("admission")
        self._dispatcher.check_time(version.key)
        self._journal.check_room(version.key.tenant)
        sizes = self._limits.check_texts(call.texts, field=call.field, max_bytes=version.max_text_bytes)
        # Guard input: none yet. Cache: none yet.
        self._budget.check("tokenising")
        encoded = await self._tokenizer.encode(version.key, call.texts)
        check_encoded(encoded, len(call.texts))
        self._limits.check_num_tokens(len(encoded.token_ids), field=call.field)
        self._budget.check("dispatch")
        scores_NC = await self._dispatcher.dispatch(version, encoded)
        # Guard output: none yet.
        return outcomes(version.labels, scores_NC, encoded, sizes)

    def _records(self, accepted: _Accepted, rows: Sequence[RowOutcome]) -> list[PredictionRecord]:
        return [
            self._record(accepted, row, code="OK", outcome=outcome, text_bytes=outcome.text_bytes)
            for row, outcome in enumerate(rows)
        ]

    def _failures(self, accepted: _Accepted, code: str) -> list[PredictionRecord]:
        return [
            self._record(accepted, row, code=code, outcome=None, text_bytes=len(text.encode()))
            for row, text in enumerate(accepted.call.texts)
        ]

    def _record(
        self, accepted: _Accepted, row: int, *, code: str, outcome: RowOutcome | None, text_bytes: int
    ) -> PredictionRecord:
        key = accepted.route.version.key
        return PredictionRecord(
            tenant=key.tenant,
            subject=accepted.call.principal.subject,
            request_id=accepted.request_id,
            row=row,
            model=key.model,
            version=key.number,
            root_sha256=key.root_sha256,
            arm=accepted.route.arm,
            code=code,
            label=outcome.label if outcome else "",
            score=outcome.score if outcome else 0.0,
            num_tokens=outcome.num_tokens if outcome else 0,
            num_unknown_tokens=outcome.num_unknown if outcome else 0,
            text_bytes=text_bytes,
            truncated=outcome.truncated if outcome else False,
            accept_time=accepted.accept_time,
            latency_ms=(self._clock.monotonic_s() - accepted.accepted_at_s) * 1e3,
        )
