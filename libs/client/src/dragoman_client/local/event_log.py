# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log that a home's platform writes, opened to be read past the services: its file, or its Kafka."""

from dataclasses import replace

from dragoman_client.local.home import Home
from dragoman_client.local.parts import remembered
from dragoman_common.errors import NotFoundError
from dragoman_events.opening import open_log
from dragoman_events.ports import EventLog


def log_of(home: Home) -> EventLog:
    """Open the log; close it when done.

    Raises:
        NotFoundError: the platform has not been started yet.
        UnavailableError, FailedPreconditionError: as `open_log`.
    """
    parts = remembered(home)
    if parts is not None:
        # A reader makes no topic: the services do.
        return open_log(parts.settings.events_url, replace(parts.settings.kafka, kafka_create_topics=False))
    if not home.events.exists():
        raise NotFoundError(f"there is no event log in {home.root} yet; start the platform with `dragoman up`")
    return open_log(home.events_url)
