# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The fake passes the contract of the real logs."""

import pytest

from dragoman_events.contracts import EventLogContract
from dragoman_events.memory import MemoryEventLog


class TestMemoryEventLog(EventLogContract):
    @pytest.fixture
    def log(self):
        return MemoryEventLog()

    @pytest.mark.xfail(strict=True, reason="one process, no group membership: rebalancing is Kafka's")
    def test_consumers_of_one_group_share_the_work(self, log):
        super().test_consumers_of_one_group_share_the_work(log)
