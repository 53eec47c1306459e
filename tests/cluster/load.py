# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Callers inside the cluster, for the time of a block: load_inside.py in the client's pod."""

import json
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.cluster.installation import MODEL, known_rows
from tests.cluster.kubectl import Kubectl

SCRIPT = Path(__file__).with_name("load_inside.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A call that did not get OK: when it began (Unix time), how long it took, and what came."""

    at_s: float
    latency_s: float
    code: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    num_ok: int
    num_wrong: int
    failures: tuple[Failure, ...]
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        """One line of figures, and what failed first."""
        first = "".join(f"; {one.code} after {one.latency_s} s: {one.detail}" for one in self.failures[:3])
        return (
            f"{self.num_ok} OK, {self.num_wrong} wrong, {len(self.failures)} failed; "
            f"p50 {self.p50_ms} ms, p99 {self.p99_ms} ms, longest {self.max_ms} ms{first}"
        )

    def failed_apart_from(self, spans_s: list[tuple[float, float]]) -> list[Failure]:
        """The failures of calls that were under way in none of these spans."""
        return [
            failure
            for failure in self.failures
            if not any(
                failure.at_s <= ended_s and began_s <= failure.at_s + failure.latency_s for began_s, ended_s in spans_s
            )
        ]


class Load:
    """Callers, each with a connection of its own and one call at a time.

    Args:
        kubectl: Of the release's namespace.
        callers: How many.
        every_s: The pace of each.
        timeout_s: Of each call.
        rows_per_call: Texts of each call.
        repeat: How often each text is repeated within itself.
        name: Tells one load from another that runs at the same time.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        *,
        callers: int = 8,
        every_s: float = 0.2,
        timeout_s: float = 20.0,
        rows_per_call: int = 1,
        repeat: int = 1,
        name: str = "load",
    ) -> None:
        self._kubectl = kubectl
        self._stack = ExitStack()
        self._stop_file = f"/tmp/stop-{name}"
        self._arguments = [
            f"--target=dragoman.{kubectl.namespace}.svc:9000",
            f"--model={MODEL}",
            f"--rows={json.dumps(known_rows())}",
            f"--callers={callers}",
            f"--every-s={every_s}",
            f"--timeout-s={timeout_s}",
            f"--rows-per-call={rows_per_call}",
            f"--repeat={repeat}",
            f"--stop-file={self._stop_file}",
        ]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        script = self._stack.enter_context(SCRIPT.open())
        inside = ["exec", "--stdin", "deployment/dragoman-client", "--", "python", "-", *self._arguments]
        self._process = subprocess.Popen(
            self._kubectl.command(*inside), stdin=script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def end(self, *, limit_s: float = 60) -> Outcome:
        """Let the calls under way end, and say what became of all."""
        assert self._process is not None
        self._kubectl.run("exec", "deployment/dragoman-client", "--", "touch", self._stop_file)
        printed, problems = self._process.communicate(timeout=limit_s)
        assert self._process.returncode == 0, problems
        found: dict[str, Any] = json.loads(printed)
        return Outcome(
            num_ok=found["codes"].get("OK", 0),
            num_wrong=found["wrong"],
            failures=tuple(
                Failure(at_s=at_s, latency_s=latency_s, code=code, detail=detail)
                for at_s, latency_s, code, detail in found["failures"]
            ),
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
            max_ms=found["max_ms"],
        )

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._process is not None and self._process.poll() is None:
            # What runs in the pod does not end with kubectl.
            self._kubectl.run("exec", "deployment/dragoman-client", "--", "touch", self._stop_file)
            self._process.kill()
            self._process.communicate()
