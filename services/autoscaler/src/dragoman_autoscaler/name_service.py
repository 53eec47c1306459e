# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Names to addresses by the system's resolver, in a thread."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from dragoman_common.errors import UnavailableError

TIMEOUT_S = 5.0
_NO_ADDRESS = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class SystemNames:
    """See ports.NameService. A headless Service without ready pods has no address: that is an answer."""

    def __init__(self, num_threads: int) -> None:
        """Take threads of its own: a name service that hangs holds one a pool.

        Args:
            num_threads: As many as names are asked for at once.
        """
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="resolve")

    async def addresses(self, host: str) -> frozenset[str]:
        """See ports.NameService."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
        except TimeoutError:
            raise UnavailableError(f"the name service did not answer within {TIMEOUT_S:.0f} s") from None
        except socket.gaierror as error:
            if error.errno in _NO_ADDRESS:
                return frozenset()
            raise UnavailableError(f"the name service failed: {error.strerror}") from None
        # A machine with both families is one worker.
        one = min((family for family, _ in found), default=0)
        return frozenset(address for family, address in found if family == one)

    def close(self) -> None:
        """End; what hangs is left."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[tuple[int, str]]:
    """(family, address) of each."""
    return [(each[0], str(each[4][0])) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
