# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The `dragoman` command: which commands there are. Each lives in the file of its group."""

import os
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli import cluster, data, events, evidence, jobs, keylist, operator, policy
from dragoman_client.cli.bundle import export_version, import_version
from dragoman_client.cli.doctor import doctor
from dragoman_client.cli.errors import ErrorsAsExitCodes
from dragoman_client.cli.evidence import approve
from dragoman_client.cli.gc import gc
from dragoman_client.cli.history import history, repair
from dragoman_client.cli.lineage import lineage
from dragoman_client.cli.models import alias, models
from dragoman_client.cli.output import say
from dragoman_client.cli.platform import down, status, token, up
from dragoman_client.cli.predict import feedback, predict
from dragoman_client.cli.publish import publish
from dragoman_client.cli.report import report
from dragoman_client.cli.session import Session
from dragoman_client.cli.train import train
from dragoman_client.cli.trust import rollback, verify, withdraw
from dragoman_client.cli.usage import usage
from dragoman_client.local.home import Home

app = typer.Typer(
    name="dragoman",
    cls=ErrorsAsExitCodes,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, judge, serve and watch text classifiers on this machine.",
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        say(f"dragoman {metadata.version('dragoman-client')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    home: Annotated[
        str | None, typer.Option(help="Where the platform keeps its things; DRAGOMAN_HOME otherwise.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="DRAGOMAN_CA", help="A file of certificates (PEM) to trust: every connection is TLS. For clusters."
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback prints and exits
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Choose the platform that the command is for."""
    chosen = Home.resolve(os.environ) if home is None else Home.at(home)
    ctx.obj = Session(home=chosen, ca_file=ca, environ=os.environ)


for command_of_platform in (up, down, status, doctor, token):
    app.command()(command_of_platform)
for command in (train, models, publish, alias, history, predict, feedback, report, usage):
    app.command()(command)
for command_of_trust in (approve, rollback, withdraw, verify, repair, lineage, gc):
    app.command()(command_of_trust)
app.command("export")(export_version)
app.command("import")(import_version)
app.add_typer(jobs.app, name="jobs")
app.add_typer(evidence.app, name="evidence")
app.add_typer(policy.app, name="policy")
app.add_typer(operator.app, name="operator")
app.add_typer(keylist.app, name="keylist")
app.add_typer(events.app, name="events")
app.add_typer(data.app, name="data")
app.add_typer(cluster.app, name="cluster")


def main() -> None:
    """The console script."""
    app()
