# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the monitor: the only file that names concrete adapters and reads the environment."""

import asyncio
import logging
import os
import threading

from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common import logs, telemetry
from dragoman_common.clock import SystemClock
from dragoman_common.errors import DragomanError
from dragoman_common.server import Service, serve
from dragoman_common.service_keys import ServiceTokenAuthenticator, TrustStore
from dragoman_common.settings import load
from dragoman_events.opening import open_log
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor import metrics
from dragoman_monitor.consumer import TopicReader
from dragoman_monitor.convert import label_from_record, prediction_from_record
from dragoman_monitor.dead_letter_topic import DeadLetterTopic
from dragoman_monitor.retention import Retention
from dragoman_monitor.servicer import POLICY, MonitorServicer
from dragoman_monitor.settings import PREFIX, Settings
from dragoman_monitor.sql import SqlMonitorStore

NAME = "monitor"

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve reports and read the topics until the process is asked to stop."""
    log = open_log(settings.events_url, settings.kafka)
    store = SqlMonitorStore(settings.database(), settings.rules())
    send = DeadLetterTopic(log).send
    stop = threading.Event()
    readers: list[TopicReader | Retention] = [
        TopicReader(topic, read, log=log, store=store, send=send, clock=SystemClock(), settings=settings.consumer())
        for topic, read in ((PREDICTIONS, prediction_from_record), (FEEDBACK, label_from_record))
    ]
    topics = (PREDICTIONS, FEEDBACK)
    threads = [
        *readers,
        Retention(topics, log=log, store=store, clock=SystemClock(), settings=settings.retention()),
    ]
    metrics.observe(telemetry.meter("dragoman.monitor"), topics, log=log, store=store)
    # Threads that were asked to stop are waited for before what they use is closed.
    reading = [asyncio.create_task(asyncio.to_thread(each.run, stop)) for each in threads]

    async def stop_reading() -> None:
        stop.set()
        await asyncio.gather(*reading, return_exceptions=True)

    async def read(task: asyncio.Task[None]) -> None:
        await asyncio.shield(task)

    try:
        await serve(
            [
                Service(
                    register=pb_grpc.add_MonitorServiceServicer_to_server,
                    servicer=MonitorServicer(
                        store,
                        log,
                        settings.rules(),
                        max_windows=settings.max_report_windows,
                        max_bytes=settings.server.max_message_bytes,
                    ),
                )
            ],
            settings.server,
            authenticator=ServiceTokenAuthenticator(TrustStore.load(settings.server.trust_file), audience=NAME),
            policy=POLICY,
            background=[read(task) for task in reading],
            on_drain=stop_reading,
        )
    finally:
        await stop_reading()
        store.close()
        log.close()


def main() -> None:
    settings = load(Settings, os.environ, prefix=PREFIX)
    logs.configure(NAME, settings.server.log_level)
    telemetry.configure(NAME, settings.server.otlp_endpoint, settings.server.metrics_listen)
    try:
        asyncio.run(run(settings))
    except DragomanError as error:
        # The text is for whoever started the process: which file or setting, and what to do.
        logger.critical("stopped: %s", error.message)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
