# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a supervisor needs to know about a service, and nothing about which services there are."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSpec:
    """A child process that writes its port to a ready file when it listens."""

    name: str
    command: tuple[str, ...]
    """An absolute program and its arguments."""
    needs: tuple[str, ...] = ()
    """Services that must be ready before this one is started."""
    environment: Callable[[Mapping[str, int]], Mapping[str, str]]
    """Variables for the child, from the ports of the services that are ready."""
    listen_variable: str
    """The variable that carries the address to listen on."""
    port: int = 0
    """A fixed port, or 0 for one that the system picks at the first start and that is kept at a restart."""
    ready_file_variable: str


# Asks a listening service whether it takes calls; False while it does not, or cannot be reached.
ServingCheck = Callable[[int], Awaitable[bool]]
