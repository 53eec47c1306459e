# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Following the registry's key list: when it is asked for, what happens with the answer, what a restart knows of it.

    every period, and soon after a signature by a key that is not known -> fetch -> VerifyingKeys.follow
        -> newer: kept in a file of ours, and whoever has verified something is told to do it again
        -> older, forked, forged: audit record, once; the keys stay as they are
        -> no answer: the keys stay as they are

Owns the loop and the file. Not what makes a list newer (verifying_keys), nor the call.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from dragoman_common.atomic import write_atomic
from dragoman_common.audit import Audit
from dragoman_common.errors import DragomanError, InvalidArgumentError, NotFoundError, UnimplementedError
from dragoman_models.key_list import MAX_CHAIN_BYTES
from dragoman_models.verifying_keys import VerifyingKeys

MIN_PAUSE_S = 5.0
"""Between two questions, however many unknown signatures come."""
MAX_PERIOD_S = 3600
_JITTER = 0.25
_WHAT = "key list of the registry"

logger = logging.getLogger(__name__)


def check_period(period_s: float, *, name: str) -> None:
    """Refuse a period that would ask all the time, or leave a revocation unheard for long.

    Raises:
        ValueError: naming the setting.
    """
    if not MIN_PAUSE_S <= period_s <= MAX_PERIOD_S:
        raise ValueError(f"{name}: must be {MIN_PAUSE_S:g} to {MAX_PERIOD_S}")


def load_keys(path: Path, kept: Path | None, audit: Audit) -> VerifyingKeys:
    """Return the keys that count: those of the configured file, or of the newer list that was kept when followed.

    A kept list that does not hold, or does not continue the configured keys, changes nothing: who can write there can
    make a service forget, not believe.

    Args:
        path: The configured file, see VerifyingKeys.load.
        kept: The file that KeyFollower keeps; it need not exist yet.
        audit: Told of a kept list that does not hold.

    Raises:
        InvalidArgumentError: the configured file does not hold.
    """
    keys = VerifyingKeys.load(path)
    if kept is None:
        return keys
    try:
        with kept.open("rb") as file:
            data = file.read(MAX_CHAIN_BYTES + 1)
    except FileNotFoundError:
        return keys
    except OSError as error:
        audit.refused(f"kept key list {kept.name}", str(error))
        return keys
    what = f"kept key list {kept.name}"
    try:
        keys.follow(data, what=what)
    except InvalidArgumentError as error:
        if not _is_earlier(data, keys, what):
            audit.refused(what, error.message)
    return keys


def _is_earlier(data: bytes, keys: VerifyingKeys, what: str) -> bool:
    """Whether a chain is what the keys' own chain was once: then the configured file has gone on since it was kept."""
    if keys.chain is None:
        return False
    try:
        return VerifyingKeys.of_chain(data, what=what).follow(keys.chain, what=what)
    except InvalidArgumentError:
        return False


class KeyFollower:
    """Keeps verifying keys up with the registry. One run at a time."""

    def __init__(
        self,
        keys: VerifyingKeys,
        fetch: Callable[[], Awaitable[bytes]],
        *,
        audit: Audit,
        on_newer: Callable[[], None],
        period_s: float,
        kept: Path | None = None,
    ) -> None:
        """Prepare; nothing is asked before run.

        Args:
            keys: Changed in place, for all who share them.
            fetch: Asks the registry for its chain. NotFoundError and UnimplementedError: it has none.
            audit: Told of lists that are refused.
            on_newer: Called in the event loop after the keys have changed: what was verified must be verified again.
            period_s: Between two questions, a quarter more or less.
            kept: The file that holds the newest list across restarts; None keeps none.
        """
        self._keys = keys
        self._fetch = fetch
        self._audit = audit
        self._on_newer = on_newer
        self._period_s = period_s
        self._kept = kept
        self._is_unknown_met = asyncio.Event()
        self._told = ""

    async def run(self) -> None:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            # Records are verified in threads, too.
            loop.call_soon_threadsafe(self._is_unknown_met.set)

        self._keys.on_unknown_signer = wake
        try:
            while True:
                self._is_unknown_met.clear()
                await self.ask()
                await asyncio.sleep(MIN_PAUSE_S)
                rest_s = self._period_s * random.uniform(1 - _JITTER, 1 + _JITTER) - MIN_PAUSE_S  # noqa: S311 - not for secrets
                try:
                    async with asyncio.timeout(max(0.0, rest_s)):
                        await self._is_unknown_met.wait()
                except TimeoutError:
                    continue
        finally:
            self._keys.on_unknown_signer = None

    async def ask(self) -> bool:
        """Ask once, and go on to the answer where it is newer. Returns whether it was; never fails for lack of one."""
        try:
            data = await self._fetch()
        except (NotFoundError, UnimplementedError) as error:
            # Plain keys, or a registry of before there were lists.
            self._tell_once(logging.INFO, "the registry has no key list", error)
            return False
        except DragomanError as error:
            self._tell_once(logging.WARNING, "the key list was not asked for", error)
            return False
        if data == self._keys.chain:
            self._told = ""
            return False
        try:
            # A long chain takes a while to verify.
            is_newer = await asyncio.to_thread(self._keys.follow, data, what=_WHAT)
        except InvalidArgumentError as error:
            if self._told != error.message:
                self._told = error.message
                self._audit.refused(_WHAT, error.message)
            return False
        self._told = ""
        if is_newer:
            logger.info("a newer key list counts", extra={"sequence": self._keys.sequence})
            self._on_newer()
            await self._keep(data)
        return is_newer

    async def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        try:
            await asyncio.to_thread(write_atomic, self._kept, data)
        except OSError as error:
            # It counts all the same; only a start after this knows less.
            logger.warning("the key list was not kept", extra={"file": self._kept.name, "error": str(error.strerror)})

    def _tell_once(self, level: int, message: str, error: DragomanError) -> None:
        if self._told != error.message:
            self._told = error.message
            logger.log(level, message, extra={"reason": error.message})
