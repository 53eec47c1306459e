# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What OK promises about a call's events, by tenant. Pure; outbox.py keeps the promise.

    acked      the event log has acknowledged them; while it is away, they are synced to the spool on the local disk
    spooled    they are synced to the spool, and follow into the log
    sampled:N  as spooled, for one request in N; of the others nothing is kept

Which request is kept follows from its id alone, so feedback is kept for exactly the predictions that were, a consumer
can tell from any id whether its events exist, and every event says N (`ce_sampledrate`: how many requests it stands
for).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_ONE_IN = 1_000_000
_SAMPLED = re.compile(r"sampled:([1-9][0-9]{0,6})", re.ASCII)
_FORMS = "acked, spooled or sampled:N (one request in N is kept)"


class Mode(StrEnum):
    ACKED = "acked"
    SPOOLED = "spooled"
    SAMPLED = "sampled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Durability:
    """`one_in` is 1 unless the mode is SAMPLED."""

    mode: Mode
    one_in: int = 1

    def keeps(self, request_id: str) -> bool:
        """Whether the events of a request are kept: its id, read as a hexadecimal number, divides by `one_in`."""
        return self.one_in == 1 or int(request_id, 16) % self.one_in == 0


def parse_durability(text: str) -> Durability:
    """Read one mode.

    Raises:
        ValueError: the text is none.
    """
    if text in (Mode.ACKED, Mode.SPOOLED):
        return Durability(mode=Mode(text))
    found = _SAMPLED.fullmatch(text)
    if found is None or int(found[1]) > MAX_ONE_IN:
        raise ValueError(f"{text!r} is not {_FORMS}, N from 1 to {MAX_ONE_IN:,}")
    return Durability(mode=Mode.SAMPLED, one_in=int(found[1]))


class Durabilities:
    """The default, and the tenants that have another."""

    def __init__(self, default: str, of_tenants: Iterable[str] = ()) -> None:
        """Read the settings: `default` is a mode, each of `of_tenants` is `tenant=mode`.

        Raises:
            ValueError: one does not parse, or a tenant is there twice.
        """
        self._default = parse_durability(default)
        self._of_tenants: dict[str, Durability] = {}
        for item in of_tenants:
            tenant, equals, mode = item.partition("=")
            if not tenant or not equals:
                raise ValueError(f"{item!r} is not tenant=mode")
            if tenant in self._of_tenants:
                raise ValueError(f"{tenant!r} has two modes; keep one")
            self._of_tenants[tenant] = parse_durability(mode)

    def of(self, tenant: str) -> Durability:
        return self._of_tenants.get(tenant, self._default)

    @property
    def need_spool(self) -> bool:
        """Whether any tenant's events always go to the spool first."""
        return any(each.mode is not Mode.ACKED for each in (self._default, *self._of_tenants.values()))
