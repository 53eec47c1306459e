# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""doctor: checks a deployment from outside, and says what is wrong and what to do."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.doctor.deployment import deployment_of
from dragoman_client.doctor.examination import examine
from dragoman_client.doctor.finding import FAIL, Finding
from dragoman_client.local.parts import RealParts, variables_of_file
from dragoman_common.errors import InvalidArgumentError


def doctor(
    ctx: typer.Context,
    *,
    target: Annotated[
        list[str] | None, typer.Option(help="NAME=HOST:PORT of a service (or http=...), instead of this home's.")
    ] = None,
    env: Annotated[
        Path | None, typer.Option("--env", help="A file of DRAGOMAN_UP_* lines: the real parts, as for `up`.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the platform from outside: services, keys, clocks, models, broker, store, books. Exits with 1 on a fail."""
    session = session_of(ctx)
    deployment = deployment_of(
        session.home,
        session.platform.running(),
        targets=dict(_target(text) for text in target or ()),
        parts=None if env is None else RealParts.of(variables_of_file(env)),
        ca_file=session.ca_file,
    )
    findings = asyncio.run(examine(deployment))
    is_healthy = all(finding.status != FAIL for finding in findings)
    if as_json:
        document = {"home": str(session.home.root), "is_healthy": is_healthy}
        print_json({**document, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            say(_line(finding))
    if not is_healthy:
        raise typer.Exit(1)


def _target(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
        raise InvalidArgumentError(f"--target: {text[:80]!r} is not NAME=HOST:PORT")
    return name, address


def _line(finding: Finding) -> str:
    # A message of another program may have line ends of its own.
    text = " ".join(f"{finding.part} {finding.check}: {finding.message}".split())
    return f"{finding.status:<8}{text}" + (f" -> {finding.advice}" if finding.advice else "")
