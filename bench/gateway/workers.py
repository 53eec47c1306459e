# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What do callers see when workers come, die and hang? One gateway, real workers on loopback addresses, a small model.

    python -m bench.gateway.workers [--callers 12] [--kills 10]

Starts a platform in a temporary home and trains its linear model. Then, under load: workers are killed in turn
(SIGKILL), each replaced by a new one at a new address as a Deployment does; one is paused for 4 s (SIGSTOP). Callers
ask again as soon as they are answered, 15 s a call.
"""

import argparse
import asyncio
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.integration import corpus
from tests.integration.installation import Installation, free_port
from tests.integration.worker_pool import WorkerPool, load_on

RECIPE = Path(__file__).parents[2] / "tests/integration/recipes/linear.yaml"
MODEL = "many"


async def run(made: Installation, folder: Path, num_callers: int, num_kills: int) -> None:
    """Print what was seen."""
    pool = WorkerPool(made, folder, models=f"local/{MODEL}")
    try:
        pool.start_worker(1)
        pool.start_worker(2)
        pool.start_gateway()
        await asyncio.gather(pool.until_ready(1), pool.until_ready(2))
        pool.say(1, 2)
        async with load_on(pool.target, made.token(), MODEL, num_callers=num_callers) as load:
            await asyncio.sleep(5)
            quiet = sorted(took_s for _, took_s in load.answers)
            began_s = time.monotonic()
            alive, used_s = [1, 2], []
            for number in range(3, 3 + num_kills):
                pool.signal(alive.pop(0), signal.SIGKILL)
                pool.start_worker(number)
                alive.append(number)
                pool.say(*alive)
                await pool.until_ready(number)
                used_s.append(await pool.until_used(number, timeout_s=30))
                await asyncio.sleep(1)
            elapsed_s = time.monotonic() - began_s
            killed = sorted(took_s for at_s, took_s in load.answers if at_s >= began_s)
            paused_s = time.monotonic()
            pool.signal(alive[0], signal.SIGSTOP)
            await asyncio.sleep(4)
            pool.signal(alive[0], signal.SIGCONT)
            back_s = await pool.until_used(alive[0], timeout_s=30)
            await asyncio.sleep(1)
        print(
            f"quiet: {len(quiet) / 5:.0f} calls/s, p50 {statistics.median(quiet) * 1e3:.0f} ms, max {quiet[-1]:.2f} s"
        )
        print(
            f"{num_kills} workers killed and replaced in {elapsed_s:.0f} s: {len(killed)} answers, "
            f"{len(load.failures)} failures, p99 {killed[int(len(killed) * 0.99)] * 1e3:.0f} ms, max {killed[-1]:.2f} s"
        )
        print(f"a new worker had answered a call {max(used_s):.2f} s after its first ready report, at most")
        caught = load.slowest_s(begun_after_s=paused_s - 0.5, before_s=paused_s + 1.0)
        later = load.slowest_s(begun_after_s=paused_s + 1.0, before_s=paused_s + 4.0)
        print(
            f"a worker paused for 4 s: slowest call begun before or within 1 s {caught:.2f} s, later {later:.2f} s; "
            f"it was used again {back_s:.2f} s after it went on; failures in all {load.failures[:3] or 0}"
        )
    finally:
        pool.close()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        made = Installation(home=root / "home", cache=root / "cache", grpc_port=free_port(), http_port=free_port())
        made.run("data", "add", "topics", *map(str, corpus.write(root)))
        made.up()
        try:
            made.serve(MODEL, made.train(RECIPE, MODEL))
            (root / "pool").mkdir()
            asyncio.run(run(made, root / "pool", arguments.callers, arguments.kills))
        finally:
            made.down()


if __name__ == "__main__":
    main()
