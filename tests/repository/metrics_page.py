# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md: every meter that the code makes, under the name that Prometheus reads.

    a meter provider that writes down what is made -> the services' modules, and the functions that make meters -> page

Owns the page's words on labels: what one may say, and why that has a bound. `python -m tests.repository.metrics_page`
writes the page.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "metrics.md"
_MAKES = re.compile(r"\bcreate_(counter|histogram|gauge|up_down_counter|observable_\w+)\b")
_KINDS = {
    "create_counter": "counter",
    "create_observable_counter": "counter",
    "create_histogram": "histogram",
    "create_gauge": "gauge",
    "create_observable_gauge": "gauge",
}
LABELS = {
    "dragoman.auth.failures": ("reason",),
    "dragoman.gateway.calls": ("operation", "face", "code"),
    "dragoman.gateway.held_calls": ("pool",),
    "dragoman.gateway.retries": ("reason",),
    "dragoman.gateway.workers": ("pool",),
    "dragoman.launcher.job_changes": ("state",),
    "dragoman.monitor.lag": ("topic",),
    "dragoman.worker.failed_versions": ("pool", "tenant", "model", "version", "reason"),
    "http.server.duration": ("route", "status"),
    "rpc.server.duration": ("method", "code"),
}
_BY_PREFIX = {"dragoman.autoscaler.": ("pool",), "dragoman.worker.": ("pool", "tenant", "model", "version")}
BOUNDS = {
    "code": "gRPC's status codes",
    "face": "3: the protocol of a call",
    "method": "the methods that are served",
    "model": "as `version`",
    "operation": "2",
    "pool": "the pools in the settings; one at a worker",
    "reason": "7 at `dragoman_auth_failures_total`; 3 at a gateway; gRPC's status codes at a worker",
    "route": "the routes that there are, and one for all others",
    "state": "the states of a job",
    "status": "HTTP's status codes",
    "tenant": "as `version`",
    "topic": "2",
    "version": "what a worker holds: `MAX_LOADED_VERSIONS` at once",
}
_HEAD = """\
# Metrics

Set `METRICS_LISTEN` (`DRAGOMAN_<SERVICE>_METRICS_LISTEN`, host:port) and a service answers `GET /metrics` there in
Prometheus's text format: in the clear, without a credential, and nothing else. It is a port of its own so that a
NetworkPolicy can close it. The same meters go to `OTLP_ENDPOINT` where that is set; both may be. Beside what is listed,
each process tells its own CPU time, memory and open files (`process_*`) and who it is (`target_info`).

Written by `python -m tests.repository.metrics_page` from what the code makes; a test compares them.
"""


@dataclass(frozen=True, order=True, slots=True)
class Made:
    """One instrument."""

    service: str
    name: str
    kind: str
    unit: str
    description: str
    file: str

    @property
    def prometheus_name(self) -> str:
        from opentelemetry.exporter.prometheus._mapping import map_unit, sanitize_full_name

        name, unit = sanitize_full_name(self.name), map_unit(self.unit)
        if unit and not name.endswith(f"_{unit}"):
            name = f"{name}_{unit}"
        return f"{name.removesuffix('_total')}_total" if self.kind == "counter" else name

    @property
    def labels(self) -> tuple[str, ...]:
        by_prefix = next((labels for prefix, labels in _BY_PREFIX.items() if self.name.startswith(prefix)), ())
        return LABELS.get(self.name, by_prefix)


def files_that_make_meters() -> set[str]:
    """Shipped source files in which an instrument is created."""
    sources = (path for root in ("libs", "services") for path in (ROOT / root).glob("*/src/**/*.py"))
    return {str(path.relative_to(ROOT)) for path in sources if _MAKES.search(path.read_text())}


def collected() -> list[Made]:
    """Every instrument; in a process of its own, whose meter provider nobody else has set."""
    completed = subprocess.run(
        [sys.executable, "-m", "tests.repository.metrics_page", "--collect"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode != 0:
        raise RuntimeError(completed.stderr)
    return [Made(*line.split("\t")) for line in completed.stdout.splitlines()]


def page(made: list[Made]) -> str:
    """The whole text."""
    return "\n".join([_HEAD, *_sections(made)])


def _sections(made: list[Made]) -> Iterator[str]:
    for service in sorted({each.service for each in made}, key=lambda name: (name != "every service", name)):
        yield f"## {service}\n\n| Prometheus | OpenTelemetry | kind | labels | what |\n|---|---|---|---|---|"
        for each in sorted(each for each in made if each.service == service):
            labels = ", ".join(each.labels)
            yield f"| `{each.prometheus_name}` | `{each.name}` | {each.kind} | {labels} | {each.description} |"
        yield ""
    yield "## Labels\n\nWhoever could choose a label could fill Prometheus's memory: each has a bound."
    yield "\n| label | values |\n|---|---|"
    yield from (f"| {name} | {bound} |" for name, bound in BOUNDS.items())
    yield ""


def _collect() -> None:
    from opentelemetry import metrics

    made: set[Made] = set()
    metrics.set_meter_provider(_provider(made))
    for file in sorted(files_that_make_meters()):
        importlib.import_module(_module(file))
    _make()
    for each in sorted(made):
        sys.stdout.write("\t".join(astuple(each)) + "\n")


def _make() -> None:
    """Call what makes meters only when a service runs. What the meters read is not read here."""
    from dragoman_autoscaler import metrics as autoscaler
    from dragoman_common import server, telemetry
    from dragoman_gateway import routing_metrics
    from dragoman_launcher import job_metrics
    from dragoman_monitor import metrics as monitor
    from dragoman_tokenizer.servicer import TokenizerServicer
    from dragoman_worker import metrics as worker

    nothing: Any = None
    catalogue: Any = SimpleNamespace(listen=lambda _: None)
    autoscaler.observe(nothing)
    routing_metrics.observe(nothing, nothing, nothing)
    server._measure(nothing)
    job_metrics.measure(catalogue, nothing, telemetry.meter("dragoman_launcher"))
    monitor.observe(telemetry.meter("dragoman.monitor"), (), log=nothing, store=nothing)
    TokenizerServicer(nothing, nothing, nothing)
    worker.observe(nothing, pool="default")


def _provider(made: set[Made]) -> Any:
    from opentelemetry.metrics import MeterProvider, NoOpMeter

    class Meter(NoOpMeter):
        def __getattribute__(self, called: str) -> Any:
            make = super().__getattribute__(called)
            if called not in _KINDS:
                return make

            def wrote_down(name: str, *arguments: Any, unit: str = "", description: str = "", **named: Any) -> Any:
                file = sys._getframe(1).f_code.co_filename
                made.add(_made(file, name, _KINDS[called], unit, description))
                return make(name, *arguments, unit=unit, description=description, **named)

            return wrote_down

    class Provider(MeterProvider):
        def get_meter(self, name: str, *_: Any, **__: Any) -> Meter:
            return Meter(name)

    return Provider()


def _made(file: str, name: str, kind: str, unit: str, description: str) -> Made:
    path = str(Path(file).relative_to(ROOT))
    folder, owner = path.split("/")[:2]
    service = owner if folder == "services" else "every service"
    return Made(service=service, name=name, kind=kind, unit=unit, description=description, file=path)


def _module(file: str) -> str:
    return ".".join(Path(file.partition("/src/")[2]).with_suffix("").parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--collect"]:
        _collect()
    else:
        PAGE.write_text(page(collected()))
