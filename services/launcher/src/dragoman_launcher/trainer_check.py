# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Asks the trainer what it thinks of a recipe, in a process of its own: the port RecipeChecker.

    recipe -> file in a temporary folder -> trainer with CHECK_ONLY=1 -> result.json -> fine, or the trainer's words

The answer has the form of a job's end (result_file.py). A process that leaves none is a broken
trainer, not a bad recipe.
"""

import asyncio
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dragoman_common.errors import UnavailableError
from dragoman_launcher.outcome import JobResult, Verdict
from dragoman_launcher.recipe_check import RecipeError
from dragoman_launcher.result_file import read_result
from dragoman_launcher.trainer_environment import check_environment

MAX_LOGGED_CHARS: Final = 2_000

logger = logging.getLogger(__name__)


class PodRecipeChecker:
    """Takes every recipe of the right form: where jobs are pods, the trainer is in their image alone.

    It refuses a recipe in its pod, before it reads any data.
    """

    async def check(self, recipe: str) -> None:
        del recipe


class TrainerRecipeChecker:
    """Runs a trainer for each check.

    Args:
        command: the trainer's command.
        data_dir: where the data sets lie.
        environ: the launcher's environment, of which the trainer gets the allowed part.
        timeout_s: how long a check may take.
    """

    def __init__(self, *, command: Sequence[str], data_dir: Path, environ: Mapping[str, str], timeout_s: float) -> None:
        self._command = tuple(command)
        self._data_dir = data_dir
        self._environ = dict(environ)
        self._timeout_s = timeout_s

    async def check(self, recipe: str) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="dragoman-check-") as folder:
                result = await self._asked(recipe, Path(folder))
        except OSError as error:
            logger.warning("recipe check cannot start", extra={"reason": str(error)})
            raise UnavailableError("The trainer's recipe check cannot be started; see the launcher's log.") from error
        if result.verdict is not Verdict.SUCCEEDED:
            raise RecipeError(result.message or "The trainer refuses the recipe.")

    async def _asked(self, recipe: str, folder: Path) -> JobResult:
        # The file's name is in the trainer's messages: it is what the submitter calls the thing.
        recipe_file, result_file = folder / "recipe", folder / "result.json"
        recipe_file.write_text(recipe, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=check_environment(recipe_file, result_file, self._data_dir, self._environ),
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                _, complaint = await process.communicate()
        except TimeoutError:
            raise UnavailableError(f"The trainer's recipe check did not end within {self._timeout_s:g} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        result = read_result(result_file)
        if result is None:
            text = complaint.decode(errors="replace")[-MAX_LOGGED_CHARS:]
            logger.error("recipe check broken", extra={"exit_code": process.returncode, "stderr": text})
            raise UnavailableError("The trainer's recipe check gave no answer; see the launcher's log.")
        return result
