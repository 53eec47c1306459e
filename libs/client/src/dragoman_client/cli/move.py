# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of an alias that was moved, forwards or back: where it points, and whether that version can answer.

AliasEvent -> wait for the worker -> Move -> document or line, and a failure's exit code where it cannot
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.documents import Document, alias_document
from dragoman_client.cli.errors import failure
from dragoman_client.cli.loading import Loading, until_loaded
from dragoman_client.cli.output import print_json, say
from dragoman_client.operator_client import OperatorClient

DEFAULT_WAIT_S = 60.0
WaitOption = Annotated[
    float, typer.Option(min=0, max=3600, help="How long to wait until a worker is ready for the version; 0: not.")
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait; the same as --wait-s 0.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A move that was made. `loading` is None where nobody waited; `before` is the version to go back to, if any."""

    event: registry_pb2.AliasEvent
    loading: Loading | None = None
    before: int | None = None


async def after_move(operator: OperatorClient, event: registry_pb2.AliasEvent, *, wait_s: float) -> Move:
    """Wait until the version answers, or cannot, at most `wait_s`; 0: not at all."""
    if not wait_s:
        return Move(event=event)
    loading = await until_loaded(operator, event, timeout_s=wait_s)
    before = None
    if loading.state != "ready":
        moves = await operator.alias_events(event.model, event.alias)
        others = (move.stable_version for move in reversed(moves) if move.stable_version != event.stable_version)
        before = next(others, None)
    return Move(event=event, loading=loading, before=before)


def show_move(move: Move, *, wait_s: float, as_json: bool) -> None:
    """Print it.

    Raises:
        typer.Exit: the version does not answer; with the exit code of its failure.
    """
    event, loading = alias_document(move.event), move.loading
    if as_json:
        state, why = (loading.state, loading.reason or None) if loading else (None, None)
        print_json({"event": event, "load_state": state, "load_reason": why})
    else:
        ready = ", ready" if loading and loading.state == "ready" else ""
        say(f"{event['model']}@{event['alias']} -> version {event['version']} ({event['root_sha256'][:12]}){ready}")
        if event["gate_summary"]:
            say(f"gate: {event['gate_summary']}")
    if loading and loading.state != "ready":
        raise failure(loading.exit_code, _not_ready(event, loading, move.before, wait_s))


def _not_ready(event: Document, loading: Loading, before: int | None, wait_s: float) -> str:
    name, version = event["model"], event["version"]
    if loading.state == "failed":
        what = f"the worker cannot load {name} version {version}: {loading.reason}"
    else:
        why = f" ({loading.reason})" if loading.reason else ""
        what = f"no worker is ready for {name} version {version} after {wait_s:g} s: {loading.state}{why}"
    move = f"dragoman alias {name} {event['alias']} {before or 'VERSION'} --reason ..."
    back = f"to go back: `{move}`" if before else f"no earlier version to go back to; when there is another: `{move}`"
    return f"{what}; the move stands, and `dragoman models` shows when it is ready; {back}"
