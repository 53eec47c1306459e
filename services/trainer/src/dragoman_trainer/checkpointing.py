# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""When a run saves its state, and from which it goes on.

start: newest checkpoint of this job that is whole and of this run -> restored, else from the beginning
step:  due? -> saved; a store that does not take it costs a line in the log, not the run
stop:  asked for while steps are made -> the step that runs is finished, saved -> the run ends
end:   published -> dropped
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from dragoman_common.errors import DataLossError, DragomanError
from dragoman_trainer.ports import CheckpointStore, JobCancelledError
from dragoman_trainer.stopping import Stop

if TYPE_CHECKING:
    from dragoman_trainer.training_state import TrainingState

logger = logging.getLogger(__name__)


class NoCheckpointer:
    """Keeps nothing, so that a run that is asked to stop has nothing to finish first. Has what the loop calls."""

    def restore(self, state: "TrainingState") -> None:
        """Begin anew."""

    def stops_held_off(self) -> AbstractContextManager[None]:
        """Hold nothing off."""
        return nullcontext()

    def end_if_asked(self, state: "TrainingState") -> None:
        """Whoever asked has ended the run."""

    def save_if_due(self, state: "TrainingState") -> None:
        """Save nothing."""


class Checkpointer:
    """Keeps the state of one run.

    Args:
        store: Where.
        interval_s: Save when this much time has passed; 0 never does.
        interval_steps: Save after so many steps; 0 never does.
        stop: Whether the process was asked to stop.
        monotonic_s: The clock.
    """

    def __init__(
        self,
        store: CheckpointStore,
        *,
        interval_s: float,
        interval_steps: int,
        stop: Stop | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._interval_steps = interval_steps
        self._stop = stop or Stop()
        self._monotonic_s = monotonic_s
        self._saved_s = monotonic_s()
        self._saved_step = 0
        self._fingerprint = ""

    def describe(self, facts: Mapping[str, object]) -> None:
        """Say what makes this run this one: a state of another is not taken up."""
        self._fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def restore(self, state: "TrainingState") -> None:
        """Put the state where the job was, if it was somewhere.

        Raises:
            UnavailableError: the store does not answer; a run that began anew for that would lose hours.
        """
        from dragoman_trainer.training_state import restore_state

        data = self._store.newest()
        if data is None:
            return
        try:
            is_ours = restore_state(state, data, fingerprint=self._fingerprint)
        except DataLossError as error:
            logger.warning("checkpoint not used", extra={"reason": error.message})
            return
        if not is_ours:
            logger.warning("checkpoint not used", extra={"reason": "it is of another recipe, data set or software"})
            return
        self._saved_step = state.step
        logger.info("going on from a checkpoint", extra={"step": state.step, "epoch": state.epoch})

    def stops_held_off(self) -> AbstractContextManager[None]:
        """While steps are made: who is asked to stop then does so in `end_if_asked`, and leaves a checkpoint."""
        return self._stop.held_off()

    def end_if_asked(self, state: "TrainingState") -> None:
        """Look between two steps whether the run is to end: it ends with its state saved, if the store takes it.

        Raises:
            JobCancelledError: it was asked to stop.
        """
        if not self._stop.is_asked:
            return
        if state.step != self._saved_step:
            self._save(state)
        raise JobCancelledError(f"the process was asked to stop, after step {state.step}")

    def save_if_due(self, state: "TrainingState") -> None:
        """Save the state between two steps, when it is time."""
        now_s = self._monotonic_s()
        is_time = 0 < self._interval_s <= now_s - self._saved_s
        is_far = 0 < self._interval_steps <= state.step - self._saved_step
        if is_time or is_far:
            self._save(state)

    def _save(self, state: "TrainingState") -> None:
        from dragoman_trainer.training_state import dump_state

        data = dump_state(state, fingerprint=self._fingerprint)
        try:
            self._store.save(state.step, data)
            logger.info("checkpoint saved", extra={"step": state.step, "bytes": len(data)})
        except DragomanError as error:
            logger.warning("checkpoint not saved", extra={"step": state.step, "reason": error.message})
        # Also when it was not: the next try is not at once, and training does not wait for a store.
        self._saved_s, self._saved_step = self._monotonic_s(), state.step

    def drop(self) -> None:
        """Delete what was saved: the run is over."""
        try:
            self._store.drop()
        except DragomanError as error:
            logger.warning("checkpoints not deleted; they expire", extra={"reason": error.message})
