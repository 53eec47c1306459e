# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""up, down, status, token: the platform itself."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dragoman.inference.v1 import worker_pb2
from dragoman_client.cli.documents import Document, failed_version_documents, platform_document
from dragoman_client.cli.errors import EXIT_CODES
from dragoman_client.cli.loading import loaded_or_none
from dragoman_client.cli.output import note, print_json, print_table, say
from dragoman_client.cli.session import JsonOption, Session, session_of
from dragoman_client.local import keys
from dragoman_client.local.parts import REAL_VARIABLE, variables_of_file
from dragoman_client.local.ports import GRPC_PORT_VARIABLE, HTTP_PORT_VARIABLE, FixedPorts
from dragoman_client.local.state import PlatformState
from dragoman_client.local.user_tokens import DEFAULT_LIFETIME_S, LOCAL_TENANT, UserTokenIssuer
from dragoman_common.clock import SystemClock
from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError
from dragoman_common.names import RULE, is_name


def up(
    ctx: typer.Context,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return when everything is ready; keep it running.")] = False,
    grpc_port: Annotated[int, typer.Option(envvar=GRPC_PORT_VARIABLE, min=1, max=65535)] = 9000,
    http_port: Annotated[int, typer.Option(envvar=HTTP_PORT_VARIABLE, min=1, max=65535)] = 8080,
    real: Annotated[
        bool,
        typer.Option("--real", envvar=REAL_VARIABLE, help="On Kafka, S3 and Postgres, where DRAGOMAN_UP_* says."),
    ] = False,
    env: Annotated[Path | None, typer.Option("--env", help="A file of DRAGOMAN_UP_* lines, with --real.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the platform on this machine."""
    if env is not None and not real:
        raise InvalidArgumentError("--env says where the real parts are; it needs --real")
    session = session_of(ctx)
    if real:
        described = {} if env is None else variables_of_file(env)
        session = replace(session, environ={**session.environ, **described, REAL_VARIABLE: "true"})
    ports = FixedPorts(grpc=grpc_port, http=http_port)
    running = session.platform.running()
    if running is not None:
        if running.phase != "ready":
            raise UnavailableError(f"a platform is {running.phase} in {session.home.root}; see `dragoman status`")
        _show_up(session, running, as_json=as_json, already_running=True)
        asked = (f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}")
        if asked != (running.grpc_target, running.http_address):
            note(f"it stays on its ports; to move it to {grpc_port} and {http_port}: `dragoman down`, then `up` again")
        return
    progress = _Progress(quiet=as_json)
    if detach:
        _show_up(session, session.platform.start_detached(ports, progress.show), as_json=as_json)
        return

    def on_state(state: PlatformState) -> None:
        was_ready = progress.is_ready
        progress.show(state)
        if progress.is_ready and not was_ready:
            _show_up(session, state, as_json=as_json)
            note("Ctrl-C stops it")

    state = asyncio.run(session.platform.supervise(ports, on_state))
    if state.failure:
        raise UnavailableError(state.failure)


def down(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Stop the platform, and whatever an earlier one has left running."""
    session = session_of(ctx)
    was_running = session.platform.stop()
    if as_json:
        print_json({"was_running": was_running, "home": str(session.home.root)})
    else:
        say("stopped" if was_running else "nothing was running")


def status(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """What runs. Exits with 0 only when every service is ready and no version failed to load."""
    session = session_of(ctx)
    state = session.platform.running()
    is_ready = state is not None and state.phase == "ready" and all(s.state == "ready" for s in state.services)
    loaded, why_not = asyncio.run(_loaded(session)) if state is not None and state.phase == "ready" else (None, "")
    failed = None if loaded is None else failed_version_documents(loaded)
    document = {**platform_document(state, str(session.home.root)), "failed_versions": failed}
    if as_json:
        print_json(document)
    else:
        say(f"{document['phase']} ({session.home.root})")
        _print_services(document)
        for version in failed or ():
            say(f"cannot be loaded: {version['model']} version {version['version']}: {version['reason']}")
        if why_not:
            say(f"what is loaded is not known: {why_not}")
    if not is_ready or failed is None or failed:
        raise typer.Exit(EXIT_CODES["UNAVAILABLE"])


async def _loaded(session: Session) -> tuple[list[worker_pb2.LoadedVersion] | None, str]:
    async with session.operator() as operator:
        return await loaded_or_none(operator)


def token(
    ctx: typer.Context,
    *,
    models: Annotated[
        str | None, typer.Option(help="Comma-separated names; all models of the tenant when it is not given.")
    ] = None,
    ttl_s: Annotated[int, typer.Option("--ttl-s", help="How long it holds, at most 86400.")] = DEFAULT_LIFETIME_S,
    subject: Annotated[str, typer.Option(help="Who it is for; you otherwise.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print a bearer token for the local tenant."""
    session = session_of(ctx)
    path = keys.user_key_file(session.home)
    if not path.exists():
        raise FailedPreconditionError(f"{session.home.root} has no keys yet; start the platform with `dragoman up`")
    names = None if models is None else _model_names(models)
    clock = SystemClock()
    who = subject or session.user
    text = UserTokenIssuer.load(path).token(clock=clock, subject=who, models=names, lifetime_s=ttl_s)
    if as_json:
        expires = (clock.now() + timedelta(seconds=ttl_s)).isoformat(timespec="seconds").replace("+00:00", "Z")
        print_json({"token": text, "subject": who, "tenant": LOCAL_TENANT, "models": names, "expire_time": expires})
    else:
        typer.echo(text)


def _model_names(text: str) -> list[str]:
    """The models of a token. Nothing here may widen it: an empty list is a mistake, not all models."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not is_name(name):
            raise InvalidArgumentError(
                f"--models: {name!r} is no model name, which has {RULE}; leave --models out for all models"
            )
    return names


class _Progress:
    """Says once of each service that it is ready."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()
        self._console = Console(stderr=True)
        self.is_ready = False

    def show(self, state: PlatformState) -> None:
        self.is_ready = state.phase == "ready"
        for service in state.services:
            if service.state == "ready" and service.name not in self._said:
                self._said.add(service.name)
                if not self._quiet:
                    self._console.print(f"  {service.name} ready on port {service.port}", highlight=False)


def _show_up(session: Session, state: PlatformState, *, as_json: bool, already_running: bool = False) -> None:
    document = {"already_running": already_running, **platform_document(state, str(session.home.root))}
    if as_json:
        print_json(document)
        return
    say("already running" if already_running else "running")
    say(f"  gRPC  {state.grpc_target}")
    say(f"  HTTP  http://{state.http_address}")
    say("  token `dragoman token`, stop `dragoman down`")


def _print_services(document: Document) -> None:
    if document["services"]:
        print_table(
            ("service", "state", "pid", "port", "restarts", "since"),
            (
                (s["name"], s["state"], s["pid"], s["port"], s["num_restarts"], s["start_time"])
                for s in document["services"]
            ),
        )
