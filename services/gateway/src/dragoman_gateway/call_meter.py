# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How many calls there were and how they ended: one rule for all faces.

**Every prediction or feedback call of an authenticated caller is counted once, when it ends, by operation, face and the
status code that the caller gets; a refused one as any other.** So the refused are the calls whose code is not OK,
whichever way they came in and at whichever stage they were turned away. A retry inside (another worker) is no call.
What reaches no handler is not counted here: no valid token, bytes that are no message, a gRPC message over the cap.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from dragoman_common import deadline, telemetry
from dragoman_common.errors import DragomanError
from dragoman_common.status import code_of

PREDICT, FEEDBACK = "predict", "feedback"
_DEADLINE_SLACK_S = 0.05
"""A client whose own timer runs out hangs up, and its message may arrive before our timer does."""

Count = Callable[[int, Mapping[str, str]], None]
_calls = telemetry.meter("dragoman.gateway").create_counter(
    "dragoman.gateway.calls", unit="1", description="Calls by operation, face and status code, each once"
)


def code_name(error: BaseException) -> str:
    """The status that a caller gets for an error."""
    return code_of(error).name if isinstance(error, DragomanError) else "INTERNAL"


class CallMeter:
    """Counts calls. `count` takes an amount and attributes."""

    def __init__(self, count: Count | None = None) -> None:
        self._count: Count = count or _calls.add

    @contextmanager
    def counted(
        self, operation: str, face: str, codes: Mapping[type[BaseException], str] | None = None
    ) -> Iterator[None]:
        """Around one call, from before its first check to its end.

        Args:
            operation: PREDICT or FEEDBACK.
            face: the protocol: gateway, oip or rest.
            codes: names for errors that only this face knows.
        """
        code = "OK"
        try:
            yield
        except BaseException as error:
            code = next((name for kind, name in (codes or {}).items() if isinstance(error, kind)), _code(error))
            raise
        finally:
            self._count(1, {"operation": operation, "face": face, "code": code})


def _code(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED"
    if isinstance(error, asyncio.CancelledError):
        left_s = deadline.remaining_s()
        return "DEADLINE_EXCEEDED" if left_s is not None and left_s <= _DEADLINE_SLACK_S else "CANCELLED"
    return code_name(error)
