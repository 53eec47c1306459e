# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A version that this worker should run, and what became of it.

Owns the states and what they mean for a caller. Who moves a version from one to the next is placement.py.
"""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from dragoman_common.errors import DragomanError, UnavailableError
from dragoman_models.record import VersionManifest
from dragoman_worker.engine import Engine
from dragoman_worker.ports import VersionEnvelopes


class State(Enum):
    """LOADING -> READY -> DRAINING -> gone; FAILED is tried again."""

    LOADING = "LOADING"
    READY = "READY"
    DRAINING = "DRAINING"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class VersionRef:
    """Which version, and which content it must have."""

    tenant: str
    model: str
    number: int
    root_sha256: str

    @property
    def name(self) -> str:
        """For messages and log lines."""
        return f"{self.tenant}/{self.model}/versions/{self.number}"


@dataclass(slots=True, eq=False)
class HeldVersion:
    """One version on this worker.

    Attributes:
        manifest: Verified; None until then.
        envelopes: What it was verified from.
        is_in_doubt: It verified when it was loaded, and by today's keys does not: it may go on, and not come back.
        vocabulary_size: Token ids are below it; None where the architecture does not say.
        engine: Exists once the version has been READY.
        task: Loads it, or retires it.
    """

    ref: VersionRef
    state_time: datetime
    _state: State = State.LOADING
    _reason: str = ""
    manifest: VersionManifest | None = None
    envelopes: VersionEnvelopes | None = None
    is_in_doubt: bool = False
    vocabulary_size: int | None = None
    engine: Engine | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def state(self) -> State:
        """READY only while the process can be expected to answer."""
        if self._state is State.READY and self.engine is not None and self.engine.failure is not None:
            return State.FAILED
        return self._state

    @property
    def reason(self) -> str:
        """Why it is FAILED."""
        if self.engine is not None and self.engine.failure is not None:
            return failure_text(self.engine.failure)
        return self._reason

    @property
    def is_loaded(self) -> bool:
        """It has come up and has not been told to leave."""
        return self._state is State.READY

    @property
    def num_starts(self) -> int:
        """How often its process has been started."""
        return 0 if self.engine is None else self.engine.num_starts

    def move(self, state: State, now: datetime, reason: str = "") -> None:
        """Enter a state."""
        self._state, self._reason, self.state_time = state, reason, now

    def serving_engine(self) -> Engine:
        """Return what answers calls.

        Raises:
            UnavailableError: it is loading or failed; another worker may hold it.
        """
        if self.engine is None:
            raise UnavailableError(f"{self.ref.name} is {self.state.value} on this worker; try again")
        return self.engine


def failure_text(error: Exception) -> str:
    """Return what a report says of a failure: DATA_LOSS: what was found."""
    own = type(error)
    shared = next((kind for kind in own.__mro__ if kind.__module__ == DragomanError.__module__), own)
    name = shared.__name__.removesuffix("Error")
    return f"{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name).upper()}: {error}"
