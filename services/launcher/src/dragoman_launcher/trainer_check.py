# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Asks the trainer what it thinks of a recipe, in a process of its own: the port RecipeChecker.

python -m dragoman_trainer --check < recipe.yaml
exit code 0: the recipe can run
exit code 2: it can not; stdout is a JSON object {"error": "<text for the submitter>"}
anything else: the checker is broken; its stderr goes to our log
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from dragoman_common.errors import UnavailableError
from dragoman_launcher.recipe_check import RecipeError
from dragoman_launcher.trainer_environment import inherited

REFUSED: Final = 2
MAX_TEXT_CHARS: Final = 2_000

logger = logging.getLogger(__name__)


class TrainerRecipeChecker:
    def __init__(self, *, command: Sequence[str], environ: Mapping[str, str], timeout_s: float) -> None:
        self._command = (*command, "--check")
        self._environ = inherited(environ)
        self._timeout_s = timeout_s

    async def check(self, recipe: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environ,
            )
        except OSError as error:
            logger.warning("recipe check cannot start", extra={"reason": str(error)})
            raise UnavailableError("The trainer's recipe check cannot be started.") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                said, complained = await process.communicate(recipe.encode())
        except TimeoutError:
            raise UnavailableError(f"The trainer's recipe check did not end within {self._timeout_s:g} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return
        if process.returncode == REFUSED and (text := _error_of(said)) is not None:
            raise RecipeError(text)
        logger.error(
            "recipe check broken",
            extra={"exit_code": process.returncode, "stderr": complained.decode(errors="replace")[-MAX_TEXT_CHARS:]},
        )
        raise UnavailableError(f"The trainer's recipe check is broken (exit code {process.returncode}); see its log.")


def _error_of(said: bytes) -> str | None:
    try:
        values = json.loads(said)
    except ValueError:
        return None
    text = values.get("error") if isinstance(values, dict) else None
    return text[:MAX_TEXT_CHARS] if isinstance(text, str) and text else None
