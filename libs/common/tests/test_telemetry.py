# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Meters to a collector and to Prometheus at once, in a process of their own: providers are set once in each."""

import asyncio
import subprocess
import sys

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

PROCESS = """
import sys
from dragoman_common import auth_meter, telemetry
from dragoman_common.errors import UnauthenticatedError
from opentelemetry import metrics
telemetry.configure("worker", sys.argv[1] or None, sys.argv[2] or None)
rows = telemetry.meter("m").create_counter("dragoman.test.rows", unit="1", description="Rows")
took = telemetry.meter("m").create_histogram("dragoman.test.duration", unit="ms", description="Time")
rows.add(3, {"pool": "default"})
took.record(7)
auth_meter.count(UnauthenticatedError("no"))
first = telemetry.exposition().decode()
rows.add(2, {"pool": "default"})
print(first + "#---" + chr(10) + telemetry.exposition().decode())
metrics.get_meter_provider().shutdown()
"""


def run(endpoint, listen):
    command = [sys.executable, "-c", PROCESS, endpoint, listen]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return completed.stdout.split("#---\n")


class Collector(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self):
        self.values = {}

    async def Export(self, request, context):
        for scope in (scope for each in request.resource_metrics for scope in each.scope_metrics):
            for metric in scope.metrics:
                points = metric.sum.data_points or metric.histogram.data_points
                self.values[metric.name] = [getattr(point, "as_int", 0) or getattr(point, "sum", 0) for point in points]
        return metrics_service_pb2.ExportMetricsServiceResponse()


async def test_collector_and_prometheus_are_told_the_same_sums():
    collector, server = Collector(), grpc.aio.server()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        first, second = await asyncio.to_thread(run, f"127.0.0.1:{port}", "127.0.0.1:0")
    finally:
        await server.stop(0)
    assert 'dragoman_test_rows_total{pool="default"} 3.0\n' in first
    assert 'dragoman_test_rows_total{pool="default"} 5.0\n' in second
    assert collector.values["dragoman.test.rows"] == [5]
    assert collector.values["dragoman.auth.failures"] == [1]


def test_text_is_one_that_prometheus_reads():
    (text, _) = run("", "127.0.0.1:0")
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["dragoman_test_rows"].type == "counter"
    assert families["dragoman_test_duration_milliseconds"].type == "histogram"
    assert families["dragoman_auth_failures"].samples[0].labels == {"reason": "invalid_token"}
    assert families["target_info"].samples[0].labels["service_name"] == "worker"
    assert "process_resident_memory_bytes" in families


def test_without_a_port_nothing_is_kept_for_it():
    assert all("dragoman" not in text for text in run("", ""))
