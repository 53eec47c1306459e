# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The first program of a job's process: it says who it is, once, and then becomes the trainer.

    python -m dragoman_launcher.job_process <process.json> <folder> <command...>
    create process.json with my own (boot id, pid, start time) -> chdir -> exec command, same pid, same start time

Written by the process itself and before any work, the file settles who runs the job, also between a launcher that was
killed right after the spawn and the next one: whoever comes second ends with LOST_RACE and has done nothing.
"""

import json
import os
import sys
from pathlib import Path
from typing import Final

from dragoman_common.atomic import create_exclusive
from dragoman_launcher.process_identity import ProcessName, name_of

FORMAT: Final = "dragoman.process/1"
LOST_RACE: Final = 75
CANNOT_RUN: Final = 127


def write_claim(path: Path, name: ProcessName | None) -> None:
    """Say who runs the job; None says that nobody ever will.

    Raises:
        FileExistsError: that was said before.
    """
    claim = {
        "format": FORMAT,
        "boot_id": name and name.boot_id,
        "pid": name and name.pid,
        "start_ticks": name and name.start_ticks,
    }
    create_exclusive(path, json.dumps(claim).encode())


def read_claim(path: Path) -> tuple[bool, ProcessName | None]:
    """Whether it is settled who runs the job, and who does.

    Raises:
        ValueError: the file is not ours.
    """
    try:
        claim = json.loads(path.read_bytes())
    except FileNotFoundError:
        return False, None
    if not isinstance(claim, dict) or claim.get("format") != FORMAT:
        raise ValueError(f"{path.name} is not of the format {FORMAT}")
    if claim["pid"] is None:
        return True, None
    return True, ProcessName(
        boot_id=str(claim["boot_id"]), pid=int(claim["pid"]), start_ticks=int(claim["start_ticks"])
    )


def main(arguments: list[str]) -> int:
    claim, folder, *command = arguments
    try:
        write_claim(Path(claim), name_of(os.getpid()))
    except FileExistsError:
        return LOST_RACE
    try:
        os.chdir(folder)
        # The command comes from the launcher's settings, as a list: no shell, and nothing of a recipe in it.
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
