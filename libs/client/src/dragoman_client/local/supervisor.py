# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The parent of every service on a laptop: starts them as their needs become ready, keeps them, stops them in reverse.

Owns the order and run/state.json. Does not know which services there are (services.py) nor how one is kept (child.py).
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence

from dragoman_client.local.child import Child, StartFailedError, Timing
from dragoman_client.local.home import Home
from dragoman_client.local.process import RUN_ID_VARIABLE, end, processes_of_run
from dragoman_client.local.service_spec import ServiceSpec, ServingCheck
from dragoman_client.local.state import PlatformState


class Supervisor:
    """Runs a list of services until it is told to stop, or until one cannot be started."""

    def __init__(
        self,
        home: Home,
        services: Sequence[ServiceSpec],
        state: PlatformState,
        *,
        environ: Mapping[str, str],
        is_serving: ServingCheck,
        on_change: Callable[[PlatformState], None] = lambda _: None,
        timing: Timing | None = None,
    ) -> None:
        self._home = home
        self._state = state
        self._timing = timing or Timing()
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._children = {
            spec.name: Child(
                spec,
                home,
                environ={**environ, RUN_ID_VARIABLE: state.run_id},
                is_serving=is_serving,
                timing=self._timing,
                on_change=self._write,
            )
            for spec in services
        }
        state.services = [child.state for child in self._children.values()]

    async def run(self) -> PlatformState:
        """Start everything, keep it until SIGTERM, SIGINT or a failed start, then stop it. Returns the last state."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._write()
        keepers = {asyncio.create_task(self._keep(child)) for child in self._children.values()}
        stopping = asyncio.create_task(self._until_told_to_stop())
        all_ready = asyncio.create_task(self._until_all_ready())
        try:
            done, _ = await asyncio.wait({*keepers, stopping, all_ready}, return_when=asyncio.FIRST_COMPLETED)
            if all_ready in done and not done & keepers:
                self._state.phase = "ready"
                self._write()
                done, _ = await asyncio.wait({*keepers, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._note_failure(done & keepers)
        finally:
            await self._stop({*keepers, stopping, all_ready})
        return self._state

    async def _keep(self, child: Child) -> None:
        for name in child.spec.needs:
            await self._children[name].ready.wait()
        await child.keep(
            lambda: {name: other.state.port for name, other in self._children.items() if other.ready.is_set()}
        )

    async def _until_told_to_stop(self) -> None:
        await self._stopping.wait()

    async def _until_all_ready(self) -> None:
        for child in self._children.values():
            await child.ready.wait()

    def _note_failure(self, ended: set[asyncio.Task[None]]) -> None:
        for task in ended:
            error = task.exception()
            if error is None:
                continue
            if not isinstance(error, StartFailedError):
                raise error
            self._state.failed_service, self._state.failure = error.service, error.message

    async def _stop(self, tasks: set[asyncio.Task[None]]) -> None:
        self._state.phase = "stopping"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for child in reversed(self._children.values()):
            await child.stop()
        # What a killed service left behind: its own children carry the run's id.
        await asyncio.to_thread(end, processes_of_run(self._state.run_id, self._home.jobs), self._timing.stop_grace_s)
        self._state.phase = "failed" if self._state.failed_service else "stopped"
        self._write()

    def _write(self) -> None:
        self._state.write(self._home.state_file)
        self._on_change(self._state)
