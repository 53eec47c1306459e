# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""train: submit a recipe, and follow the job until it ends."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dragoman.launcher.v1 import launcher_pb2
from dragoman_client.cli.documents import job_document, job_state_name
from dragoman_client.cli.errors import failure
from dragoman_client.cli.output import note, print_json, say
from dragoman_client.cli.recipes import Recipe, read_recipe
from dragoman_client.cli.session import JsonOption, Session, session_of
from dragoman_common.errors import InvalidArgumentError

_MAX_JOB_S = 24 * 3600.0


def train(
    ctx: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or a shipped recipe: linear, bilstm, bilstm-seed.")],
    *,
    model: Annotated[str, typer.Option(help="The model to publish to.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE replaces a value of the recipe.")
    ] = None,
    request_id: Annotated[str, typer.Option(help="The same id returns the same job, and refuses another one.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Return once the job is accepted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model from a recipe and publish it."""
    session = session_of(ctx)
    found, overrides = read_recipe(recipe), _overrides(settings or ())
    job = asyncio.run(_run(session, model, found, overrides, request_id, follow=not detach, as_json=as_json))
    if job.state == launcher_pb2.JOB_STATE_FAILED:
        raise failure("JOB_FAILED", f"{job.id}: {job.message}; its log: `dragoman jobs log {job.id}`")
    if job.state == launcher_pb2.JOB_STATE_CANCELLED:
        raise failure("JOB_CANCELLED", f"{job.id}: {job.message}")


async def _run(
    session: Session,
    model: str,
    recipe: Recipe,
    overrides: dict[str, str],
    request_id: str,
    *,
    follow: bool,
    as_json: bool,
) -> launcher_pb2.Job:
    async with session.operator() as operator:
        try:
            response = await operator.submit_job(model, recipe.text, overrides=overrides, request_id=request_id)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(recipe.named(error.message)) from error
        job, created = response.job, response.created
        if not as_json:
            note(f"job {job.id}" + ("" if created else " (known request id: nothing new was started)"))
        elif not follow:
            print_json({"created": created, "job": job_document(job)})
        if not follow:
            return job
        with _Bar(hidden=as_json) as bar:
            async for update in operator.watch_job(job.id, timeout_s=_MAX_JOB_S):
                job = update
                bar.show(job)
                if as_json:
                    print_json({"created": created, "job": job_document(job)})
    if not as_json and job.state == launcher_pb2.JOB_STATE_SUCCEEDED:
        say(f"{job.model} version {job.published_version} ({job.published_root_sha256[:12]})")
        note(f"next: `dragoman alias {job.model} prod {job.published_version} --reason ...` lets it answer")
    return job


def _overrides(settings: Sequence[str]) -> dict[str, str]:
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise InvalidArgumentError(f"--set {setting!r} is not KEY=VALUE, for instance training.epochs=4")
        overrides[key] = value
    return overrides


class _Bar:
    """One line: stage, epoch, steps, metrics, time left."""

    def __init__(self, *, hidden: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=hidden,
        )
        self._task = self._progress.add_task("pending", total=None, metrics="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: launcher_pb2.Job) -> None:
        progress = job.progress
        stage = progress.stage or job_state_name(job).lower()
        epoch = f" epoch {progress.epoch}/{progress.num_epochs}" if progress.num_epochs else ""
        metrics = " ".join(f"{name} {value:.4f}" for name, value in sorted(progress.metrics.items()))
        left = f"{progress.eta.ToTimedelta().total_seconds():.0f} s left" if progress.HasField("eta") else ""
        self._progress.update(
            self._task,
            description=stage + epoch,
            total=progress.num_steps or None,
            completed=progress.step,
            metrics=metrics,
            left=left,
        )
