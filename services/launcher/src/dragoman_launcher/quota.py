# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How much of the launcher one tenant may have: jobs that run, jobs that wait, GPUs. Pure.

tenant=running:2;pending:10;gpus:4   *=running:1   -> Quotas -> what holds for a tenant
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from dragoman_common.names import RULE, is_name

EVERYBODY: Final = "*"
MAX_VALUE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Of one tenant; None is no limit of its own."""

    running: int | None = None
    pending: int | None = None
    gpus: int | None = None
    """Of its running jobs together."""

    def num_running(self, gpus_of_a_job: int) -> int | None:
        """How many jobs may run at once, when each takes so many GPUs."""
        limits = [] if self.running is None else [self.running]
        if self.gpus is not None and gpus_of_a_job:
            limits.append(self.gpus // gpus_of_a_job)
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of all tenants: those that are named, and what holds for each of the others."""

    named: Mapping[str, Quota] = field(default_factory=dict)
    others: Quota = field(default_factory=Quota)

    @classmethod
    def parse(cls, entries: Sequence[str]) -> "Quotas":
        """Read entries of the form above.

        Raises:
            ValueError: one has another form, or a tenant is there twice.
        """
        found: dict[str, Quota] = {}
        for entry in entries:
            tenant, _, text = entry.partition("=")
            if tenant != EVERYBODY and not is_name(tenant):
                raise ValueError(f"tenant_quotas: {tenant[:80]!r} must be * or a tenant, with {RULE}")
            if tenant in found:
                raise ValueError(f"tenant_quotas: {tenant} appears twice")
            found[tenant] = _quota(tenant, text)
        return cls({name: quota for name, quota in found.items() if name != EVERYBODY}, found.get(EVERYBODY, Quota()))

    def of(self, tenant: str) -> Quota:
        """What holds for this tenant; a named one has nothing of what holds for the others."""
        return self.named.get(tenant, self.others)


def _quota(tenant: str, text: str) -> Quota:
    known = [item.name for item in fields(Quota)]
    values: dict[str, int] = {}
    for part in text.split(";"):
        key, _, number = part.partition(":")
        if key not in known or key in values or not (number.isascii() and number.isdecimal()):
            raise ValueError(
                f"tenant_quotas: {tenant}={text[:80]!r} must be such as running:2;pending:10;gpus:4, each at most once"
            )
        values[key] = int(number)
        if values[key] > MAX_VALUE:
            raise ValueError(f"tenant_quotas: {tenant}: {key} must be at most {MAX_VALUE}")
    return Quota(**values)
