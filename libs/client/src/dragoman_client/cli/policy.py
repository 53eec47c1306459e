# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""policy show, policy set: what the gate asks of a model's aliases."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from dragoman.registry.v1 import registry_pb2
from dragoman_client.cli.documents import Document
from dragoman_client.cli.models import ModelArgument
from dragoman_client.cli.output import print_json, print_table
from dragoman_client.cli.reason import check_reason
from dragoman_client.cli.registry_session import registry_of
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.cli.trust_documents import QUALITY, policy_document
from dragoman_common.errors import InvalidArgumentError

app = typer.Typer(help="What the gate asks before an alias moves.", no_args_is_help=True)

_QUALITY_VALUES = {name: value for value, name in QUALITY.items()}
_NUMBERS = ("min_robustness_basis_points", "max_size_bytes", "max_p99_us", "num_approvals")
_MAX_FILE_BYTES = 1 << 20


@app.callback()
def policy() -> None:
    """What the gate asks before an alias moves."""


@app.command()
def show(ctx: typer.Context, model: ModelArgument, *, as_json: JsonOption = False) -> None:
    """The policy of a model."""
    session = session_of(ctx)

    async def call() -> Document:
        async with registry_of(session) as registry:
            return policy_document(await registry.policy(model))

    _print(asyncio.run(call()), as_json=as_json)


@app.command(name="set")
def set_policy(
    ctx: typer.Context,
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(help="YAML or JSON: rules, a list.")],
    *,
    reason: Annotated[str, typer.Option(help="Kept with the change.")],
    as_json: JsonOption = False,
) -> None:
    """Replace the policy of a model by a file's rules."""
    check_reason(reason)
    session = session_of(ctx)
    rules = list(_rules(file))

    async def call() -> Document:
        async with registry_of(session) as registry:
            return policy_document(await registry.set_policy(model, rules, reason=reason))

    _print(asyncio.run(call()), as_json=as_json)


def _rules(file: Path) -> Iterator[registry_pb2.GateRule]:
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise InvalidArgumentError(f"{file.name} is larger than a policy may be")
    try:
        content: Any = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{file.name} is no YAML: {error}") from None
    if not isinstance(content, dict) or set(content) != {"rules"} or not isinstance(content["rules"], list):
        raise InvalidArgumentError(f"{file.name} must hold one key, rules, with a list")
    for item in content["rules"]:
        yield _rule(item, file.name)


def _rule(item: Any, what: str) -> registry_pb2.GateRule:
    allowed = {"alias", "quality", "may_be_incompatible", *_NUMBERS}
    if not isinstance(item, dict) or not {"alias", "quality"} <= set(item) <= allowed:
        raise InvalidArgumentError(f"{what}: a rule has alias and quality, and may have {', '.join(sorted(allowed))}")
    if item["quality"] not in _QUALITY_VALUES:
        raise InvalidArgumentError(f"{what}: quality must be one of {', '.join(_QUALITY_VALUES)}")
    try:
        return registry_pb2.GateRule(**{**item, "quality": _QUALITY_VALUES[item["quality"]]})
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{what}: a value has the wrong type: {error}") from None


def _print(document: Document, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    columns = ("alias", "quality", *_NUMBERS, "may_be_incompatible")
    print_table(columns, (tuple(rule[column] for column in columns) for rule in document["rules"]))
