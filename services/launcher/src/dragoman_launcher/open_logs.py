# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The kept logs that somebody has read lately: reading on costs no second look for where a part begins."""

import time
from collections import OrderedDict
from typing import Final

from dragoman_launcher.cluster_api import ClusterApi
from dragoman_launcher.cluster_logs import ClusterLog

MAX_OPEN_LOGS: Final = 32


class OpenLogs:
    def __init__(self, api: ClusterApi) -> None:
        self._api = api
        self._logs: OrderedDict[str, ClusterLog] = OrderedDict()

    def of(self, job_id: str) -> ClusterLog:
        """The job's log; the one that was asked for least lately is let go of."""
        log = self._logs.setdefault(job_id, ClusterLog(self._api, job_id, time.monotonic))
        self._logs.move_to_end(job_id)
        # Each holds a part of up to 64 KiB.
        if len(self._logs) > MAX_OPEN_LOGS:
            self._logs.popitem(last=False)
        return log
