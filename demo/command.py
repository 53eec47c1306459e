# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of the `dragoman` command, as a script makes them: arguments in, JSON documents and an exit code out."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.places import Places


class CommandFailedError(Exception):
    """The command exited with something else than 0."""


class Dragoman:
    """The command, for one home."""

    def __init__(self, places: Places, ports: Mapping[str, str]) -> None:
        self._places = places
        self.environ = {
            **os.environ,
            **ports,
            "DRAGOMAN_HOME": str(places.home),
            "DRAGOMAN_CACHE": str(places.cache),
        }

    def json(self, *arguments: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """The last document that the command prints.

        Raises:
            CommandFailedError: it exited with another code than 0; what it said is in the message.
        """
        command = [str(Path(sys.executable).with_name("dragoman")), *arguments, "--json"]
        done = subprocess.run(  # noqa: S603  our own command, no shell
            command, capture_output=True, text=True, env=self.environ, timeout=timeout_s, check=False
        )
        if done.returncode != 0:
            raise CommandFailedError(f"dragoman {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.strip()}")
        document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return document

    def show(self, *arguments: str, timeout_s: float) -> None:
        """Run the command with its output on the terminal.

        Raises:
            CommandFailedError: it exited with another code than 0.
        """
        command = [str(Path(sys.executable).with_name("dragoman")), *arguments]
        done = subprocess.run(command, env=self.environ, timeout=timeout_s, check=False)  # noqa: S603  as above
        if done.returncode != 0:
            raise CommandFailedError(f"dragoman {' '.join(arguments)}: exit {done.returncode}")
