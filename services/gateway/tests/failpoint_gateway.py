# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A gateway that ends by SIGKILL at a named point, the n-th time it gets there: `python failpoint_gateway.py POINT N`.

The gateway as `__main__` wires it; only its adapters are wrapped here. Its own modules know nothing of this. Words
behind the number change more: LOG_AWAY: the event log takes nothing, as long as the process lives. ANSWER_FIRST and
DROP_FIRST are defects, for a test of the tests: a call is answered before its event is durable; events leave the spool
before they are in the log.
"""

import asyncio
import os
import signal
import sys
import time

from dragoman_common.errors import UnavailableError
from dragoman_gateway import __main__ as wiring

POINTS = (
    "before_inference",
    "after_inference",
    "before_acknowledge",
    "after_acknowledge",
    "before_spool",
    "after_spool",
    "before_drop",
    "before_reply",
    "after_reply",
)


class Failpoint:
    """Kills this process at its point, at the n-th time."""

    def __init__(self, point, nth):
        self._point, self._left = point, nth

    def reach(self, point):
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Log:
    """The event log, with what happens around its writes."""

    def __init__(self, inner, failpoint, words):
        self._inner, self._failpoint, self._words = inner, failpoint, words

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def write(self, topic, messages):
        if "LOG_AWAY" in self._words:
            raise UnavailableError("away")
        if "ANSWER_FIRST" in self._words:
            # In the writer's thread: the answers that do not wait for it have left by then.
            time.sleep(0.02)
        self._failpoint.reach("before_acknowledge")
        offsets = self._inner.write(topic, messages)
        self._failpoint.reach("after_acknowledge")
        return offsets


def worker_client(failpoint):
    class WorkerClient(wiring.WorkerClient):
        async def score(self, *arguments):
            failpoint.reach("before_inference")
            scores = await super().score(*arguments)
            failpoint.reach("after_inference")
            return scores

    return WorkerClient


def spool(failpoint, words):
    class Spool(wiring.Spool):
        def write(self, topic, messages):
            failpoint.reach("before_spool")
            super().write(topic, messages)
            failpoint.reach("after_spool")

        def oldest(self, max_events):
            batch = super().oldest(max_events)
            if batch is not None and "DROP_FIRST" in words:
                super().drop(batch)
            return batch

        def drop(self, batch):
            failpoint.reach("before_drop")
            super().drop(batch)

    return Spool


def journal(failpoint, words):
    class EventJournal(wiring.EventJournal):
        async def record(self, records):
            if "ANSWER_FIRST" in words:
                self.note(records)
            else:
                await super().record(records)
            failpoint.reach("before_reply")
            # The reply is written after the handler returns; give it the time to leave.
            asyncio.get_running_loop().call_later(0.01, failpoint.reach, "after_reply")

    return EventJournal


def install(failpoint, words):
    """Put the wrapped adapters where `__main__` finds its own."""
    open_log = wiring.open_log
    wiring.open_log = lambda *arguments: Log(open_log(*arguments), failpoint, words)
    wiring.WorkerClient = worker_client(failpoint)
    wiring.Spool = spool(failpoint, words)
    wiring.EventJournal = journal(failpoint, words)


if __name__ == "__main__":
    install(Failpoint(sys.argv[1], int(sys.argv[2])), frozenset(sys.argv[3:]))
    wiring.main()
