# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A pool under load, second by simulated second: the autoscaler's own rule, an HPA, and workers that batch.

    arrivals -> gateway: held while no worker is ready, else the less loaded of two -> queue -> batch -> answered
    workers' reports, every half second -> dragoman_autoscaler.pool, .rule -> HPA, every sync -> workers start or drain

Owns the events. The rule is the service's code, not a copy. Source of the two choices: M. Mitzenmacher, "The Power of
Two Choices in Randomized Load Balancing", 2001.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.autoscale.hpa import Behaviour, Hpa
from bench.autoscale.traces import Arrival
from dragoman_autoscaler.demand import Held
from dragoman_autoscaler.pool import Pool, PoolLimits
from dragoman_autoscaler.ports import WorkerLoad
from dragoman_autoscaler.rule import METRICS, targets_by_metric, values_by_metric
from dragoman_autoscaler.targets import Targets

REPORT_S = 0.5
WINDOW_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerModel:
    """What one worker does. A batch takes fixed_s, and its tokens at tokens_per_s."""

    fixed_s: float = 0.02
    tokens_per_s: float = 20_000.0
    max_batch_calls: int = 64
    max_batch_tokens: int = 16_384
    max_pending_tokens: int = 400_000
    start_s: float = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is simulated beside the load.

    Attributes:
        deadline_s: Of each call: one that is not answered by then has failed, held ones included.
        late_s: One that takes longer is late.
        metrics: Those of the rule that the HPA is given.
        blind_s: From when to when no report arrives.
        restart_s: When the autoscaler is replaced by one that knows nothing; 0 for never.
        cool_down_s: KEDA's cooldownPeriod, before the last worker goes.
    """

    worker: WorkerModel = field(default_factory=WorkerModel)
    behaviour: Behaviour = field(default_factory=Behaviour)
    limits: PoolLimits = field(default_factory=PoolLimits)
    targets: Targets = field(default_factory=Targets)
    metrics: tuple[str, ...] = METRICS
    min_workers: int = 1
    max_workers: int = 20
    first_workers: int = 1
    deadline_s: float = 30.0
    late_s: float = 1.0
    cool_down_s: float = 300.0
    blind_s: tuple[float, float] = (0.0, 0.0)
    restart_s: float = 0.0
    seed: int = 1


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What became of it."""

    num_calls: int = 0
    num_failed: int = 0
    num_late: int = 0
    worker_s: float = 0.0
    ideal_s: float = 0.0
    sizes: list[tuple[float, int]] = field(default_factory=list)

    def most_turns(self, window_s: float = WINDOW_S) -> int:
        """Changes of direction within any window_s."""
        turns, last = [], 0
        for (_, before), (at_s, after) in itertools.pairwise(self.sizes):
            sign = 1 if after > before else -1
            if last and sign != last:
                turns.append(at_s)
            last = sign
        return max((sum(at <= each < at + window_s for each in turns) for at in turns), default=0)

    def size_at(self, at_s: float) -> int:
        """Workers asked for at a time."""
        return [size for since_s, size in self.sizes if since_s <= at_s][-1]


class _Worker:
    def __init__(self, model: WorkerModel, ready_s: float) -> None:
        self.model = model
        self.ready_s = ready_s
        self.waiting: deque[Arrival] = deque()
        self.running: list[Arrival] = []
        self.pending_tokens = 0
        self.is_leaving = False
        self.done_tokens = 0
        self.done_calls = 0
        self.rate = 0.0

    def next_batch(self) -> float:
        """Take a batch; returns how long it runs."""
        tokens = 0
        while self.waiting and len(self.running) < self.model.max_batch_calls:
            if self.running and tokens + self.waiting[0].tokens > self.model.max_batch_tokens:
                break
            tokens += self.waiting[0].tokens
            self.running.append(self.waiting.popleft())
        seconds = self.model.fixed_s + tokens / self.model.tokens_per_s
        self.rate += 0.1 * (tokens / seconds - self.rate) if self.rate else tokens / seconds
        return seconds

    def load(self, now_s: float) -> WorkerLoad:
        """Its report, as services/worker has it."""
        by_rate_s = self.pending_tokens / self.rate if self.rate else 0.0
        oldest_s = now_s - self.waiting[0].at_s if self.waiting else 0.0
        report = WorkerLoad(
            pending_tokens=self.pending_tokens,
            queue_time_ms=1000 * max(by_rate_s, oldest_s),
            tokens_per_s=self.done_tokens / REPORT_S,
            calls_per_s=self.done_calls / REPORT_S,
        )
        self.done_tokens = self.done_calls = 0
        return report


class Simulation:
    """Runs once."""

    def __init__(self, scene: Scene, arrivals: Sequence[Arrival]) -> None:
        """Prepare.

        Args:
            scene: Beside the load.
            arrivals: By time.
        """
        self._scene = scene
        self._arrivals = arrivals
        self._rng = random.Random(scene.seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._workers: dict[str, _Worker] = {}
        self._names = itertools.count()
        self._held: deque[Arrival] = deque()
        self._held_until_s = -1e9
        self._pool = Pool("p", scene.limits, 0.0)
        self._hpa = Hpa(scene.behaviour, max(1, scene.min_workers), scene.max_workers)
        self._active_s = 0.0
        self._counted_s = 0.0
        self._end_s = arrivals[-1].at_s + 60 if arrivals else 600.0
        self.outcome = Outcome(num_calls=len(arrivals), ideal_s=self._ideal_s())

    def run(self) -> Outcome:
        """Return what became of every call."""
        for _ in range(self._scene.first_workers):
            self._workers[f"w{next(self._names)}"] = _Worker(self._scene.worker, 0.0)
        self.outcome.sizes.append((0.0, self._scene.first_workers))
        # The first comes with the first report: a process asks for its capacity from then on.
        self._pool.capacity(self._scene.targets)
        self._at(0.0, self._report)
        if self._scene.restart_s:
            self._at(self._scene.restart_s, self._restart)
        self._at(self._scene.behaviour.sync_s, self._sync)
        upcoming = iter(self._arrivals)
        call = next(upcoming, None)
        while self._events and self._events[0][0] < self._end_s:
            if call is not None and call.at_s <= self._events[0][0]:
                self._arrive(call)
                call = next(upcoming, None)
                continue
            at_s, _, act = heapq.heappop(self._events)
            act(at_s)
        self._count(self._end_s)
        return self.outcome

    def _at(self, at_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), act))

    def _ready(self, now_s: float) -> list[str]:
        return [name for name, each in self._workers.items() if each.ready_s <= now_s and not each.is_leaving]

    def _arrive(self, call: Arrival) -> None:
        ready = self._ready(call.at_s)
        if not ready:
            self._held.append(call)
            self._tell_activity(call.at_s)
            return
        chosen = self._rng.sample(ready, min(2, len(ready)))
        self._give(min(chosen, key=lambda name: self._workers[name].pending_tokens), call, call.at_s)

    def _give(self, name: str, call: Arrival, now_s: float) -> None:
        worker = self._workers[name]
        if worker.pending_tokens + call.tokens > worker.model.max_pending_tokens:
            self.outcome.num_failed += 1
            return
        worker.waiting.append(call)
        worker.pending_tokens += call.tokens
        if not worker.running:
            self._begin(name, now_s)

    def _begin(self, name: str, now_s: float) -> None:
        worker = self._workers[name]
        # A caller who has gone is not worked for.
        while worker.waiting and now_s - worker.waiting[0].at_s > self._scene.deadline_s:
            worker.pending_tokens -= worker.waiting.popleft().tokens
            self.outcome.num_failed += 1
        if worker.waiting:
            self._at(now_s + worker.next_batch(), lambda at_s: self._answered(name, at_s))
        elif worker.is_leaving:
            self._count(now_s)
            del self._workers[name]

    def _answered(self, name: str, now_s: float) -> None:
        worker = self._workers[name]
        for call in worker.running:
            worker.pending_tokens -= call.tokens
            worker.done_tokens += call.tokens
            worker.done_calls += 1
            took_s = now_s - call.at_s
            self.outcome.num_failed += took_s > self._scene.deadline_s
            self.outcome.num_late += self._scene.late_s < took_s <= self._scene.deadline_s
        worker.running = []
        self._begin(name, now_s)

    def _report(self, now_s: float) -> None:
        """Addresses, reports, and what is held: all that the autoscaler sees."""
        self._at(now_s + REPORT_S, self._report)
        ready = self._ready(now_s)
        self._pool.resolved(ready, now_s)
        first_s, last_s = self._scene.blind_s
        for name in ready:
            load = self._workers[name].load(now_s)
            if not first_s <= now_s < last_s:
                self._pool.reported(name, load, now_s)
        while self._held and now_s - self._held[0].at_s > self._scene.deadline_s:
            self._held.popleft()
            self.outcome.num_failed += 1
        while self._held and ready:
            call = self._held.popleft()
            self._give(min(ready, key=lambda name: self._workers[name].pending_tokens), call, now_s)
        self._tell_activity(now_s)

    def _restart(self, now_s: float) -> None:
        self._pool = Pool("p", self._scene.limits, now_s)
        self._pool.capacity(self._scene.targets)

    def _tell_activity(self, now_s: float) -> None:
        """KEDA's part: 0 to 1 when pushed, 1 to 0 after its cooldownPeriod."""
        if self._held:
            self._pool.demanded(now_s)
        if self._pool.is_active(now_s):
            self._active_s = now_s
            if not self._size():
                self._resize(max(1, self._scene.min_workers), now_s)
        elif not self._scene.min_workers and self._size() and now_s - self._active_s >= self._scene.cool_down_s:
            self._resize(0, now_s)

    def _sync(self, now_s: float) -> None:
        self._at(now_s + self._scene.behaviour.sync_s, self._sync)
        size = self._size()
        if not size:
            return
        values = self._values(now_s)
        targets = {name: each for name, each in targets_by_metric(self._scene.targets).items() if name in values}
        self._resize(self._hpa.sync(now_s, size, values, targets), now_s)

    def _values(self, now_s: float) -> Mapping[str, float]:
        held = Held(calls=len(self._held), tokens=sum(call.tokens for call in self._held))
        targets = self._scene.targets
        found = values_by_metric(self._pool.state(now_s), held, targets, self._pool.capacity(targets))
        return {name: found[name] for name in self._scene.metrics}

    def _size(self) -> int:
        return sum(not worker.is_leaving for worker in self._workers.values())

    def _resize(self, size: int, now_s: float) -> None:
        had = self._size()
        if size == had:
            return
        self._count(now_s)
        for _ in range(size - had):
            self._workers[f"w{next(self._names)}"] = _Worker(self._scene.worker, now_s + self._scene.worker.start_s)
        # As a ReplicaSet does: what is not ready goes first, then what is youngest.
        staying = [name for name, each in self._workers.items() if not each.is_leaving]
        staying.sort(key=lambda name: (self._workers[name].ready_s > now_s, self._workers[name].ready_s))
        for name in staying[size:] if size < had else ():
            worker = self._workers[name]
            worker.is_leaving = True
            if not worker.running and not worker.waiting:
                del self._workers[name]
        self.outcome.sizes.append((now_s, size))

    def _count(self, now_s: float) -> None:
        self.outcome.worker_s += len(self._workers) * (now_s - self._counted_s)
        self._counted_s = now_s

    def _ideal_s(self) -> float:
        """Worker-seconds of one who knows the future: for each 15 s, the fewest that do its tokens in full batches."""
        model, by_slot = self._scene.worker, [0] * (int(self._end_s // 15) + 1)
        for call in self._arrivals:
            by_slot[int(call.at_s // 15)] += call.tokens
        best = model.max_batch_tokens / (model.fixed_s + model.max_batch_tokens / model.tokens_per_s)
        return sum(15.0 * max(self._scene.min_workers, -(-tokens // (15 * best))) for tokens in by_slot)


def simulate(scene: Scene, arrivals: Sequence[Arrival]) -> Outcome:
    """Run once."""
    return Simulation(scene, arrivals).run()
