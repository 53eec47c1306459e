# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""predict and feedback: through the gateway, as any client of it."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import typer

from dragoman_client.cli.documents import prediction_documents
from dragoman_client.cli.not_served import remedy_for
from dragoman_client.cli.output import print_json, say
from dragoman_client.cli.session import JsonOption, session_of
from dragoman_client.results import FeedbackItem
from dragoman_client.text_check import decoded_line
from dragoman_common.errors import InvalidArgumentError, NotFoundError

_ROWS_PER_CALL = 32


def predict(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="A name, or name@alias.")],
    texts: Annotated[list[str] | None, typer.Argument(help="One text each; lines of stdin when there is none.")] = None,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="This version instead of the alias's.")] = None,
    timeout_s: Annotated[float, typer.Option(help="For each call.")] = 10.0,
    skip_blank: Annotated[bool, typer.Option("--skip-blank", help="Pass over blank lines of stdin.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Classify texts."""
    session = session_of(ctx)
    given = texts or _lines(skip_blank=skip_blank)
    asked = False
    with session.client(timeout_s=timeout_s) as client:
        for rows in _chunks(given, _ROWS_PER_CALL):
            asked = True
            try:
                result = client.classify(model, rows, version)
            except NotFoundError as error:
                raise NotFoundError(f"{error.message}; {remedy_for(session, model, version)}") from error
            for document in prediction_documents(result):
                if as_json:
                    print_json(document)
                else:
                    score = document["scores"][document["label"]]
                    say(f"{document['label']}\t{score:.4f}\t{document['request_id']} {document['row']}")
    if not asked:
        raise InvalidArgumentError("no text: give texts as arguments, or one a line on stdin")


def feedback(
    ctx: typer.Context,
    request_id: Annotated[str, typer.Argument(help="As predict printed it.")],
    row: Annotated[int, typer.Argument(min=0)],
    label: Annotated[str, typer.Argument(help="The true label.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Tell the true label of an earlier answer."""
    with session_of(ctx).client() as client:
        accepted = client.feedback([FeedbackItem(request_id=request_id, row=row, true_label=label)])
    if as_json:
        print_json({"num_accepted": accepted})
    else:
        say(f"accepted {accepted}")


def _lines(*, skip_blank: bool) -> Iterator[str]:
    """One text a line. A blank line is an error: dropping it would move the answers away from their lines."""
    for number, data in enumerate(sys.stdin.buffer, start=1):
        line = decoded_line(data.rstrip(b"\r\n"), "stdin", number)
        if line.strip():
            yield line
        elif not skip_blank:
            raise InvalidArgumentError(f"stdin, line {number} is blank: take it out, or pass over with --skip-blank")


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while rows := list(islice(iterator, size)):
        yield rows
