# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Callers of a gateway, many at once, who remember what they were told.

Closed: each caller calls again as soon as it has its answer. At a rate: each waits for its next turn; a caller whose
answer is late makes its call late, so the rate is what was offered, as long as there are callers enough.
"""

import asyncio
import random
import time
from contextlib import suppress

import grpc

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from tests.faults.oracle import Calls

DEADLINE_S = 10.0
FEEDBACK_EVERY = 10
WORDS = ("oil", "grain", "ship", "trade", "wheat")


class Load:
    """Callers of one gateway. Their tokens' subjects are their names, so that events can be told apart by caller."""

    def __init__(self, platform, *, tenants, num_callers, rows, events_s=None):
        self.calls = Calls()
        self.num_in_flight = 0
        self._rows = rows
        # Callers' turns, evenly spread.
        mean = sum(rows) / len(rows)
        self._period_s = num_callers * mean / events_s if events_s else 0.0
        self._callers = [(f"caller-{place}", tenants[place % len(tenants)]) for place in range(num_callers)]
        self._tokens = {
            name: platform.token(lifetime_s=36_000, sub=name, tenant=tenant) for name, tenant in self._callers
        }
        self._stop = asyncio.Event()

    def stop(self):
        self._stop.set()

    async def run(self, target, *, until_refused=False):
        """Call until stopped, or with `until_refused` each caller until its first error."""
        async with grpc.aio.insecure_channel(target) as channel:
            stub = pb_grpc.GatewayServiceStub(channel)
            async with asyncio.TaskGroup() as group:
                for place, (name, tenant) in enumerate(self._callers):
                    first_s = time.monotonic() + self._period_s * place / len(self._callers)
                    group.create_task(self._caller(stub, name, tenant, first_s, until_refused=until_refused))

    async def _caller(self, stub, name, tenant, next_s, *, until_refused):
        rng = random.Random(name)
        metadata = (("authorization", f"Bearer {self._tokens[name]}"),)
        while not self._stop.is_set():
            if self._period_s:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.0, next_s - time.monotonic()))
                    return
                next_s += self._period_s
            rows = rng.choice(self._rows)
            texts = [" ".join(rng.choices(WORDS, k=6)) for _ in range(rows)]
            request = pb.ClassifyRequest(model=pb.ModelSelector(model="r8"), texts=texts)
            answer = await self._call(stub.Classify, request, metadata)
            if answer is None:
                self.calls.num_failed[name] += 1
                if until_refused:
                    return
                continue
            self.calls.answered[tenant, answer.request_id] = rows
            if rng.randrange(FEEDBACK_EVERY) == 0:
                item = pb.FeedbackItem(request_id=answer.request_id, row=0, true_label="acq")
                if await self._call(stub.SendFeedback, pb.SendFeedbackRequest(items=[item]), metadata) is not None:
                    self.calls.labelled.add((tenant, answer.request_id, 0))
                else:
                    self.calls.num_failed_feedback += 1

    async def _call(self, method, request, metadata):
        calls, start_s = self.calls, time.monotonic()
        self.num_in_flight += 1
        try:
            answer = await method(request, metadata=metadata, timeout=DEADLINE_S)
            calls.codes["OK"] += 1
            return answer
        except grpc.aio.AioRpcError as error:
            calls.codes[error.code().name] += 1
            return None
        finally:
            self.num_in_flight -= 1
            took_s = time.monotonic() - start_s
            calls.longest_s = max(calls.longest_s, took_s)
            calls.latest_s = max(calls.latest_s, took_s - DEADLINE_S)
