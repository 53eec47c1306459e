# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m dragoman_trainer``: one training run, then exit. The only wiring.

Exit status: 0 succeeded (the metrics are the last line of stdout), 1 failed, 2 wrong settings, 3 cancelled.
"""

import logging
import os
import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING

from dragoman_common import logs, settings
from dragoman_common.errors import DragomanError, NotFoundError
from dragoman_trainer.data import part_files
from dragoman_trainer.local import LocalReporter
from dragoman_trainer.outcome import Outcome, metrics_json, write_outcome
from dragoman_trainer.ports import JobCancelledError, ProgressReporter, Publisher
from dragoman_trainer.recipe import Recipe, parse_recipe
from dragoman_trainer.settings import PREFIX, Settings
from dragoman_trainer.training import RunResult, run

if TYPE_CHECKING:
    import grpc

    from dragoman_trainer.call import Credential

logger = logging.getLogger("dragoman_trainer")

SUCCEEDED, FAILED, CANCELLED = 0, 1, 3


def main() -> int:
    """Run as the environment says; return the exit status."""
    chosen = settings.load(Settings, os.environ, prefix=PREFIX)
    logs.configure("trainer", chosen.log_level)
    signal.signal(signal.SIGTERM, _cancel)
    try:
        outcome = Outcome(verdict="failed", message="internal error; see the log")
        try:
            outcome = _train(chosen)
        except DragomanError as error:
            outcome = Outcome(verdict="failed", message=error.message)
        except JobCancelledError as error:
            outcome = Outcome(verdict="cancelled", message=str(error))
        except MemoryError:
            outcome = Outcome(verdict="failed", message="out of memory: lower batch_size, hidden_size or max_tokens")
    finally:
        # Also on a defect of ours: the traceback goes to the log, and the owner still learns that the run has ended.
        if chosen.result_file is not None:
            write_outcome(chosen.result_file, outcome)
    if outcome.verdict == "succeeded":
        return SUCCEEDED
    sys.stderr.write(f"{outcome.verdict}: {outcome.message}\n")
    return CANCELLED if outcome.verdict == "cancelled" else FAILED


def _train(chosen: Settings) -> Outcome:
    recipe, text = _recipe(chosen)
    if chosen.check_only:
        part_files(recipe.data.name, chosen.data_dir)
        return Outcome(verdict="succeeded", message="the recipe can be run")
    chosen.output_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        reporter, publisher = _platform(chosen, stack)
        result: RunResult = run(
            recipe,
            text,
            data_dir=chosen.data_dir,
            output_dir=chosen.output_dir,
            reporter=reporter,
            publisher=publisher,
        )
    sys.stdout.write(metrics_json(result) + "\n")
    message = f"test accuracy {result.evaluation.accuracy:.4f}"
    return Outcome(verdict="succeeded", message=message, published=result.published)


def _recipe(chosen: Settings) -> tuple[Recipe, str]:
    try:
        text = chosen.recipe_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"recipe {chosen.recipe_file} cannot be read") from error
    overrides = dict(pair.partition("=")[::2] for pair in chosen.overrides)
    return parse_recipe(text, file=chosen.recipe_file.name, overrides=overrides), text


def _platform(chosen: Settings, stack: ExitStack) -> tuple[ProgressReporter, Publisher | None]:
    """Connect what the settings name. The adapters are imported late: a local run needs no gRPC."""
    reporter: ProgressReporter = LocalReporter()
    publisher: Publisher | None = None
    if chosen.token_file is None and chosen.pod_token_file is None:
        return reporter, publisher
    from dragoman_trainer.call import JobToken, open_channel
    from dragoman_trainer.launcher_client import LauncherReporter
    from dragoman_trainer.pod_credential import PodCredential
    from dragoman_trainer.registry_client import RegistryPublisher

    def channel(target: str) -> "grpc.Channel":
        return stack.enter_context(open_channel(target, ca_file=chosen.tls_ca_file))

    token: Credential
    if chosen.pod_token_file is not None:
        token = PodCredential(channel(chosen.launcher_target), chosen.pod_token_file)
        # Before anything is read: a pod that gets no token has nothing to do here.
        token.metadata()
    elif chosen.token_file is not None:
        token = JobToken(chosen.token_file)
    if chosen.launcher_target:
        reporter = LauncherReporter(channel(chosen.launcher_target), token, chosen.job_id)
    if chosen.registry_target:
        publisher = RegistryPublisher(channel(chosen.registry_target), token, model=chosen.model, job_id=chosen.job_id)
    return reporter, publisher


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    raise JobCancelledError("the process was asked to stop")


if __name__ == "__main__":
    sys.exit(main())
