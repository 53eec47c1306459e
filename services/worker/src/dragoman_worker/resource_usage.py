# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How much of its cores and memory this worker uses: of its container, or of the front alone where there is none.

Owns the reading of cgroup v2 and of /proc, once a second and in a thread. A cgroup counts the model processes, too;
without one (a laptop, cgroup v1) only the front is counted, whose load says little.

    cpu.stat, cpu.max, memory.current, memory.max -> two shares
"""

import asyncio
import os
import time
from pathlib import Path

PERIOD_S = 1.0
_CGROUPS = Path("/sys/fs/cgroup")


class ResourceUsage:
    """The last sample. run keeps it new."""

    def __init__(self, cgroup: Path | None) -> None:
        """Begin with nothing used.

        Args:
            cgroup: The folder of the worker's cgroup; None to count this process.
        """
        self._cgroup = cgroup
        self._last: tuple[float, float] | None = None
        self.cpu_share = 0.0
        self.memory_share = 0.0

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.to_thread(self.sample, time.monotonic())
            await asyncio.sleep(PERIOD_S)

    def sample(self, now_s: float) -> None:
        """Read once. The share of the cores is that since the sample before; it may exceed 1 in a burst."""
        used_s, cores = self._cpu()
        if self._last is not None and now_s > self._last[1]:
            self.cpu_share = max(0.0, used_s - self._last[0]) / (now_s - self._last[1]) / cores
        self._last = (used_s, now_s)
        used_bytes, all_bytes = self._memory()
        self.memory_share = used_bytes / all_bytes

    def _cpu(self) -> tuple[float, float]:
        cores = float(len(os.sched_getaffinity(0)))
        if self._cgroup is None:
            times = os.times()
            return times.user + times.system, cores
        fields = dict(line.split(maxsplit=1) for line in (self._cgroup / "cpu.stat").read_text().splitlines())
        quota, _, period = _read(self._cgroup / "cpu.max", "max 100000").partition(" ")
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
        return int(fields["usage_usec"]) / 1e6, cores

    def _memory(self) -> tuple[int, int]:
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        all_bytes = os.sysconf("SC_PHYS_PAGES") * page_bytes
        if self._cgroup is None:
            return int(Path("/proc/self/statm").read_text().split()[1]) * page_bytes, all_bytes
        limit = _read(self._cgroup / "memory.max", "max")
        return int((self._cgroup / "memory.current").read_text()), all_bytes if limit == "max" else int(limit)


def own_cgroup(root: Path = _CGROUPS, memberships: Path = Path("/proc/self/cgroup")) -> Path | None:
    """Return the folder of this process's cgroup v2; None where there is none that counts memory and cores."""
    lines = memberships.read_text().splitlines() if memberships.exists() else []
    for line in lines:
        if line.startswith("0::"):
            folder = root / line.removeprefix("0::").lstrip("/")
            if all((folder / name).exists() for name in ("cpu.stat", "memory.current")):
                return folder
    return None


def _read(path: Path, otherwise: str) -> str:
    """The root cgroup has no limits, and no files for them."""
    return path.read_text().strip() if path.exists() else otherwise
