# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Load over time: recorded, or made up with a seed.

A recorded trace is a CSV of second,calls,tokens. A made-up one is a rate of calls over time, arrivals independent of
each other, sizes spread widely (log-normal).
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "traces"
MEAN_TOKENS = 400.0
SPREAD = 0.6


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call."""

    at_s: float
    tokens: int


def recorded(name: str, *, tokens_factor: float = 1.0, seed: int = 1) -> list[Arrival]:
    """Read a trace of the folder; within a second, calls come at random and are of one size.

    Args:
        name: Of the file, without its ending.
        tokens_factor: Makes every call so much larger: the recorded service had other machines.
        seed: Of the moments within a second.
    """
    rng = random.Random(seed)
    lines = [line for line in (FOLDER / f"{name}.csv").read_text().splitlines() if not line.startswith("#")]
    arrivals = []
    for line in lines[1:]:
        second, calls, tokens = (int(part) for part in line.split(","))
        size = max(1, round(tokens_factor * tokens / calls))
        arrivals += [Arrival(second + rng.random(), size) for _ in range(calls)]
    return sorted(arrivals, key=lambda each: each.at_s)


def made(rate_of: Callable[[float], float], length_s: float, *, seed: int) -> list[Arrival]:
    """Calls at rate_of(second) a second."""
    return list(_made(rate_of, length_s, random.Random(seed)))


def _made(rate_of: Callable[[float], float], length_s: float, rng: random.Random) -> Iterator[Arrival]:
    at_s = 0.0
    while at_s < length_s:
        rate = rate_of(at_s)
        if rate <= 0:
            at_s += 0.1
            continue
        at_s += rng.expovariate(rate)
        size = MEAN_TOKENS * math.exp(rng.gauss(-SPREAD * SPREAD / 2, SPREAD))
        yield Arrival(at_s, max(1, round(size)))


def constant(rate: float, length_s: float = 1_800, *, seed: int = 1) -> list[Arrival]:
    """The same all the time."""
    return made(lambda _: rate, length_s, seed=seed)


def step(rate: float, times: float = 8, *, seed: int = 1) -> list[Arrival]:
    """Once, then `times` as much for 10 minutes, then once again for 15."""
    return made(lambda at_s: rate * times if 300 <= at_s < 900 else rate, 1_800, seed=seed)


def ramp(rate: float, times: float = 8, *, seed: int = 1) -> list[Arrival]:
    """Up over 10 minutes and down over 10, with 5 of rest at both ends."""

    def rate_of(at_s: float) -> float:
        return rate * (1 + (times - 1) * max(0.0, 1 - abs(at_s - 900) / 600))

    return made(rate_of, 1_800, seed=seed)


def spikes(rate: float, times: float = 4, *, seed: int = 1) -> list[Arrival]:
    """20 seconds of `times` as much, every 4 minutes."""
    return made(lambda at_s: rate * times if at_s % 240 < 20 else rate, 1_800, seed=seed)


def naps(rate: float, *, seed: int = 1) -> list[Arrival]:
    """Nothing for 10 minutes, load for 5, again."""
    return made(lambda at_s: rate if at_s % 900 >= 600 else 0.0, 2_700, seed=seed)
