# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What do joined tokenizer calls gain? The gateway's client of a real tokenizer, alone and with calls joined.

    python -m bench.gateway.coalescing [--seconds 4] [--rounds 3]

Starts a platform in a temporary home, trains its small linear model, and calls the tokenizer as the gateway does, each
call one text of 40 words, from so many callers at once as the first column says. The contenders take turns; the best
round of each counts. CPU is of the tokenizer's process, per call.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dragoman_common import deadline
from dragoman_common.auth import calling_as
from dragoman_common.channel import connect
from dragoman_common.service_keys import KeyTokens
from dragoman_gateway.clients import TokenizerClient
from dragoman_gateway.coalescing import CoalescingTokenizer
from dragoman_gateway.ports import Tokenizer
from dragoman_gateway.version import VersionKey
from tests.integration import corpus
from tests.integration.installation import Installation, free_port

RECIPE = Path(__file__).parents[2] / "tests/integration/recipes/linear.yaml"
CALLERS = (1, 4, 16, 64, 256)
TEXT = " ".join(f"{word} {number}" for number, word in enumerate(["grain", "wheat", "oil", "ship"] * 5))


@contextmanager
def on_behalf(tenant: str, left_s: float | None) -> Iterator[None]:
    with calling_as(tenant), deadline.within(left_s or 30.0):
        yield


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measured(
    tokenizer: Tokenizer, key: VersionKey, num_callers: int, seconds: float, pid: int
) -> tuple[float, float, float, float]:
    """(calls per second, median ms, p99 ms, tokenizer CPU us per call)."""
    took_s: list[float] = []
    ends_s = time.monotonic() + seconds

    async def caller() -> None:
        with calling_as(key.tenant), deadline.within(60):
            while time.monotonic() < ends_s:
                began_s = time.monotonic()
                await tokenizer.encode(key, [TEXT])
                took_s.append(time.monotonic() - began_s)

    before_s, began_s = cpu_s(pid), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(num_callers)))
    elapsed_s, used_s = time.monotonic() - began_s, cpu_s(pid) - before_s
    took_s.sort()
    return (
        len(took_s) / elapsed_s,
        statistics.median(took_s) * 1e3,
        took_s[int(len(took_s) * 0.99)] * 1e3,
        used_s / len(took_s) * 1e6,
    )


async def run(installation: Installation, seconds: float, rounds: int) -> None:
    """Print the table."""
    service = installation.service("tokenizer")
    pid = int(str(service["pid"]))
    async with installation.operator() as operator:
        version = await operator.version("topics", 1)
    key = VersionKey(tenant="local", model="topics", number=1, root_sha256=version.root_sha256)
    tokens = KeyTokens(installation.key("gateway"))
    async with connect(f"127.0.0.1:{service['port']}", audience="tokenizer", tokens=tokens) as channel:
        alone = TokenizerClient(channel, timeout_s=30)

        def joined(max_in_flight: int) -> CoalescingTokenizer:
            return CoalescingTokenizer(
                alone,
                on_behalf=on_behalf,
                remaining_s=deadline.remaining_s,
                max_rows=256,
                max_bytes=4_000_000,
                max_in_flight=max_in_flight,
            )

        contenders: dict[str, Tokenizer] = {
            "alone": alone,
            "joined, 1 under way": joined(1),
            "joined, 2 under way": joined(2),
        }
        print(f"{'callers':>8} {'contender':<20} {'calls/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU us/call':>12}")
        for num_callers in CALLERS:
            best: dict[str, tuple[float, float, float, float]] = {}
            for _ in range(rounds):
                for name, tokenizer in contenders.items():
                    figures = await measured(tokenizer, key, num_callers, seconds, pid)
                    best[name] = max(best.get(name, (0.0, 0.0, 0.0, 0.0)), figures)
            for name, (rate, median_ms, p99_ms, cpu_us) in best.items():
                print(f"{num_callers:>8} {name:<20} {rate:>9.0f} {median_ms:>8.2f} {p99_ms:>8.2f} {cpu_us:>12.0f}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = Installation(home=root / "home", cache=root / "cache", grpc_port=free_port(), http_port=free_port())
        made.run("data", "add", "topics", *map(str, corpus.write(root)))
        made.up()
        try:
            made.train(RECIPE, "topics")
            asyncio.run(run(made, arguments.seconds, arguments.rounds))
        finally:
            made.down()


if __name__ == "__main__":
    main()
