# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""`make demo` and `make up`: start the platform, close the loop, check every number, and stop (or stay, with --keep).

Exits with 0 only when every check holds.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from demo import loop
from demo.command import CommandFailedError, Dragoman
from demo.examples import example_calls
from demo.places import Places
from demo.summary import print_summary
from demo.timing import Phases
from dragoman_client.local.ports import GRPC_PORT_VARIABLE, HTTP_PORT_VARIABLE, FixedPorts, free_port
from dragoman_common.errors import DragomanError

_DAY_S = 86_400
_PIPE_WIDTH = 120


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the platform running, and print how to call it")
    keep = parser.parse_args().keep
    places, console, phases = (
        Places(Path("build/demo").absolute()),
        Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH),
        Phases(),
    )
    dragoman = Dragoman(places, {} if keep else _ports_that_are_free(console))
    succeeded = False
    # Told to end, it still stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        dragoman.json("down")
        places.clear()
        with phases.phase("data"):
            for name in (loop.DATASET, loop.VECTORS):
                dragoman.show("data", "get", name, timeout_s=900)
        with phases.phase("start"):
            dragoman.show("up", "--detach", timeout_s=240)
        outcome = loop.run(places, dragoman, phases)
        outcome.report["phases_s"] = phases.seconds
        outcome.report["total_s"] = phases.total_s
        outcome.report["checks"] = {check.name: check.is_passed for check in outcome.checks}
        places.report.write_text(json.dumps(outcome.report, indent=2) + "\n", encoding="utf-8")
        print_summary(console, outcome, phases, places)
        failed = [f"{check.name}: {check.detail}" for check in outcome.checks if not check.is_passed]
        for line in failed:
            sys.stderr.write(f"check failed: {line}\n")
        succeeded = not failed
        if keep and succeeded:
            status = dragoman.json("status")
            token = dragoman.json("token", "--ttl-s", str(_DAY_S))["token"]
            sys.stdout.write(
                example_calls(
                    places, grpc_target=status["grpc_target"], http_address=status["http_address"], token=token
                )
            )
    except (CommandFailedError, DragomanError, RuntimeError, TimeoutError) as error:
        sys.stderr.write(f"demo failed: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; stopping what was started\n")
    finally:
        if not (keep and succeeded):
            dragoman.json("down")
    return 0 if succeeded else 1


def _ports_that_are_free(console: Console) -> dict[str, str]:
    """The usual ports, or others where a platform of the user's own has them: the demo needs no particular one."""
    try:
        FixedPorts().check_free()
    except DragomanError as error:
        console.print(f"{error.message}: the demo takes other ports", highlight=False)
        return {GRPC_PORT_VARIABLE: str(free_port()), HTTP_PORT_VARIABLE: str(free_port())}
    return {}


if __name__ == "__main__":
    sys.exit(main())
