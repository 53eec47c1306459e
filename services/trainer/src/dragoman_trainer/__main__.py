# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m dragoman_trainer``: one training run, then exit. The only wiring.

Exit status: 0 succeeded (the metrics are the last line of stdout), 1 failed, 2 wrong settings, 3 cancelled, 4 failed
for the moment: launcher or registry did not answer, and the same run may succeed later.
"""

import logging
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman_common import logs, settings
from dragoman_common.errors import DragomanError, NotFoundError, OverloadedError, UnavailableError
from dragoman_trainer.checkpointing import Checkpointer
from dragoman_trainer.data import part_files
from dragoman_trainer.local import LocalReporter, StoppableReporter
from dragoman_trainer.outcome import Outcome, metrics_json, write_outcome
from dragoman_trainer.ports import DataSource, JobCancelledError, ProgressReporter, Publisher
from dragoman_trainer.recipe import Recipe, parse_recipe
from dragoman_trainer.settings import PREFIX, Settings
from dragoman_trainer.stopping import Stop
from dragoman_trainer.training import DATA_FOLDER, RunResult, run

if TYPE_CHECKING:
    import grpc

    from dragoman_trainer.call import Credential

logger = logging.getLogger("dragoman_trainer")

_stop = Stop()

SUCCEEDED, FAILED, CANCELLED, UNANSWERED = 0, 1, 3, 4


def main() -> int:
    """Run as the environment says; return the exit status."""
    chosen = settings.load(Settings, os.environ, prefix=PREFIX)
    logs.configure("trainer", chosen.log_level)
    signal.signal(signal.SIGTERM, _stop.on_signal)
    status = FAILED
    try:
        outcome = Outcome(verdict="failed", message="internal error; see the log")
        try:
            outcome = _train(chosen)
        except (UnavailableError, OverloadedError) as error:
            outcome, status = Outcome(verdict="failed", message=error.message), UNANSWERED
        except DragomanError as error:
            outcome = Outcome(verdict="failed", message=error.message)
        except JobCancelledError as error:
            outcome, status = Outcome(verdict="cancelled", message=str(error)), CANCELLED
        except MemoryError:
            outcome = Outcome(verdict="failed", message="out of memory: lower batch_size, hidden_size or max_tokens")
    finally:
        # Also on a defect of ours: the traceback goes to the log, and the owner still learns that the run has ended.
        if chosen.result_file is not None:
            write_outcome(chosen.result_file, outcome)
    if outcome.verdict == "succeeded":
        return SUCCEEDED
    sys.stderr.write(f"{outcome.verdict}: {outcome.message}\n")
    return status


def _train(chosen: Settings) -> Outcome:
    recipe, text = _recipe(chosen)
    if chosen.check_only:
        if recipe.data.stored is None:
            part_files(recipe.data.name, chosen.data_dir)
        return Outcome(verdict="succeeded", message="the recipe can be run")
    chosen.output_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # What was fetched is in the store; the folder of an ended run is kept for long.
        stack.callback(shutil.rmtree, chosen.output_dir / DATA_FOLDER, ignore_errors=True)
        platform = _platform(chosen, stack)
        platform.reporter = StoppableReporter(platform.reporter, _stop.check)
        if platform.publisher is not None and (published := platform.publisher.published()) is not None:
            # Of a process of this job that was lost before it could say so.
            platform.reporter.published(published)
            return Outcome(
                verdict="succeeded", message="an earlier process of this job has published", published=published
            )
        result: RunResult = run(
            recipe,
            text,
            data_dir=chosen.data_dir,
            output_dir=chosen.output_dir,
            reporter=platform.reporter,
            publisher=platform.publisher,
            data_source=platform.data_source,
            checkpointer=platform.checkpointer,
            device=chosen.device,
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


@dataclass(kw_only=True, slots=True)
class _Platform:
    """What the settings name; without any, the run is local."""

    reporter: ProgressReporter
    publisher: Publisher | None = None
    data_source: DataSource | None = None
    checkpointer: Checkpointer | None = None


def _platform(chosen: Settings, stack: ExitStack) -> _Platform:
    """Connect what the settings name. The adapters are imported late: a local run needs no gRPC."""
    platform = _Platform(reporter=LocalReporter())
    if chosen.token_file is None and chosen.pod_token_file is None:
        return platform
    from dragoman_trainer.call import JobToken, open_channel
    from dragoman_trainer.checkpoint_client import RegistryCheckpoints
    from dragoman_trainer.data_client import RegistryData
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
        platform.reporter = LauncherReporter(channel(chosen.launcher_target), token, chosen.job_id)
    if chosen.registry_target:
        registry = channel(chosen.registry_target)
        platform.publisher = RegistryPublisher(registry, token, model=chosen.model, job_id=chosen.job_id)
        platform.data_source = RegistryData(registry, token)
        if chosen.checkpoint_interval_s or chosen.checkpoint_interval_steps:
            platform.checkpointer = Checkpointer(
                RegistryCheckpoints(registry, token),
                interval_s=chosen.checkpoint_interval_s,
                interval_steps=chosen.checkpoint_interval_steps,
                stop=_stop,
            )
    return platform


if __name__ == "__main__":
    sys.exit(main())
