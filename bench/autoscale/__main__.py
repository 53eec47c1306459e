# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the scaling rule does to recorded and made-up load: failed and late calls, workers paid for, changes of mind.

    python -m bench.autoscale [--trace 'step 1-8-1'] [--behaviour kubernetes] [--rule 'and work']

`ideal` are the worker-seconds of one who knows the future; `turns` the most changes of direction within 5 minutes, and
within the HPA's own window for scaling down.
"""

import argparse
import dataclasses
import time

from bench.autoscale import traces
from bench.autoscale.fleet import Scene, WorkerModel, simulate
from bench.autoscale.hpa import Behaviour, Policy
from dragoman_autoscaler.rule import METRICS, PENDING, QUEUE
from dragoman_autoscaler.targets import Targets

ONE = 18.0
"""Calls a second that keep one simulated worker at 37 %."""

TRACES = {
    "recorded": lambda: traces.recorded("conversation"),
    "constant": lambda: traces.constant(3.5 * ONE),
    "step 1-8-1": lambda: traces.step(ONE),
    "ramp 1-8-1": lambda: traces.ramp(ONE),
    "spikes x4": lambda: traces.spikes(2 * ONE),
    "naps": lambda: traces.naps(3 * ONE),
}
LARGE = Scene(
    worker=WorkerModel(fixed_s=0.05, tokens_per_s=2_500, start_s=40),
    targets=Targets(pending_tokens=6_000, queue_time_ms=4_000),
    late_s=10,
    deadline_s=60,
)
"""For the recorded load, whose calls have 1,155 tokens: a model that takes half a second for one of them."""
BEHAVIOURS = {
    "kubernetes": Behaviour(),
    "chart": Behaviour(down_window_s=120, down=(Policy(period_s=60, percent=50), Policy(period_s=15, pods=1))),
    "test cluster": Behaviour(sync_s=5, down_window_s=15),
}
RULES = {
    "queue only": (PENDING, QUEUE),
    "and work": METRICS,
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", choices=TRACES)
    parser.add_argument("--behaviour", choices=BEHAVIOURS)
    parser.add_argument("--rule", choices=RULES)
    parser.add_argument("--utilization", type=float)
    parser.add_argument("--pending-tokens", type=float)
    parser.add_argument("--smoothing-s", type=float, default=5.0)
    parser.add_argument("--sizes", action="store_true", help="print when how many workers were asked for")
    options = parser.parse_args()
    print(
        f"{'trace':12} {'HPA':13} {'rule':11} {'calls':>7} {'failed':>6} {'late':>6} {'x ideal':>7} {'turns':>9} most"
    )
    started_s = time.monotonic()
    for name in [options.trace] if options.trace else TRACES:
        arrivals = TRACES[name]()
        for behaviour in [options.behaviour] if options.behaviour else BEHAVIOURS:
            for rule in [options.rule] if options.rule else RULES:
                scene = dataclasses.replace(_scene(name, options), behaviour=BEHAVIOURS[behaviour], metrics=RULES[rule])
                found = simulate(scene, arrivals)
                turns = f"{found.most_turns()} / {found.most_turns(scene.behaviour.down_window_s)}"
                print(
                    f"{name:12} {behaviour:13} {rule:11} {found.num_calls:7} {found.num_failed:6} "
                    f"{found.num_late:6} {found.worker_s / found.ideal_s:7.2f} {turns:>9} "
                    f"{max(size for _, size in found.sizes):4}",
                    flush=True,
                )
                if options.sizes:
                    print("   ", " ".join(f"{at_s:.0f}:{size}" for at_s, size in found.sizes))
    print(f"{time.monotonic() - started_s:.0f} s")


def _scene(trace: str, options: argparse.Namespace) -> Scene:
    scene = LARGE if trace == "recorded" else Scene()
    targets = scene.targets
    if options.utilization:
        targets = dataclasses.replace(targets, utilization=options.utilization)
    if options.pending_tokens and trace != "recorded":
        targets = dataclasses.replace(targets, pending_tokens=options.pending_tokens)
    limits = dataclasses.replace(scene.limits, smoothing_s=options.smoothing_s)
    return dataclasses.replace(scene, targets=targets, limits=limits, min_workers=0 if trace == "naps" else 1)


if __name__ == "__main__":
    main()
