# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a run found, for people."""

from rich.console import Console
from rich.table import Table

from demo.loop import Outcome
from demo.places import Places
from demo.timing import Phases


def print_summary(console: Console, outcome: Outcome, phases: Phases, places: Places) -> None:
    """Confusion, time by phase, figures, and every check."""
    console.print(_confusion(outcome))
    console.print(_times(phases))
    console.print(_figures(outcome))
    console.print(f"the registry refused the shuffled model: {outcome.refusal}", markup=False, highlight=False)
    console.print(_checks(outcome))
    console.print(f"report   {places.report}\npicture  {places.picture}", highlight=False)


def _confusion(outcome: Outcome) -> Table:
    counts = {(cell["true_label"], cell["predicted_label"]): cell["count"] for cell in outcome.confusion}
    labels = sorted({label for pair in counts for label in pair})
    table = Table("true \\ predicted", *labels, title="Confusion, counted by the monitor")
    for true in labels:
        cells = [counts.get((true, predicted), 0) for predicted in labels]
        table.add_row(true, *(str(cell) if cell else "·" for cell in cells))
    return table


def _times(phases: Phases) -> Table:
    table = Table("phase", "seconds", title="Time")
    for name, seconds in phases.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("total", f"{phases.total_s:.1f}", style="bold")
    return table


def _figures(outcome: Outcome) -> Table:
    table = Table("figure", "value", title="Report")
    for name, value in outcome.report.items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.4f}")
        elif isinstance(value, int | str):
            table.add_row(name, str(value))
    return table


def _checks(outcome: Outcome) -> Table:
    table = Table("check", "", "found", title="Checks")
    for check in outcome.checks:
        table.add_row(check.name, "[green]ok" if check.is_passed else "[bold red]FAILED", check.detail)
    return table
