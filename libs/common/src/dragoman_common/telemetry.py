# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Traces and metrics by OpenTelemetry: to an OTLP collector, to Prometheus, to both, or nowhere.

meters -> a reader each for OTLP (pushed every minute) and Prometheus (read when asked) -> the same sums
"""

from collections.abc import Mapping, Sequence

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

tracer = trace.get_tracer
meter = metrics.get_meter


_scraped = CollectorRegistry()


def configure(service: str, otlp_endpoint: str | None, metrics_listen: str | None = None) -> None:
    """Set the process's providers. Call once, from `__main__`.

    Args:
        service: becomes the resource's service.name.
        otlp_endpoint: host:port of an OTLP collector; None exports nothing.
        metrics_listen: set where `exposition` will be asked for; None keeps nothing for it.
    """
    resource = Resource.create({"service.name": service})
    traces = TracerProvider(resource=resource)
    readers: list[MetricReader] = []
    if metrics_listen is not None:
        # The meters' names are our own: a label that repeats their scope would only cost.
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=_scraped))
        ProcessCollector(registry=_scraped)
    if otlp_endpoint:
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint, insecure=True)))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=otlp_endpoint, insecure=True)))
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=readers))


def exposition() -> bytes:
    """Every meter of this process in Prometheus's text format, beside its CPU time, memory and open files.

    Not for two threads at once.
    """
    return generate_latest(_scraped)


def context_from(metadata: Mapping[str, str | bytes]) -> context.Context:
    """The trace that a caller's metadata continues."""
    return propagate.extract({key: value for key, value in metadata.items() if isinstance(value, str)})


def outgoing() -> Sequence[tuple[str, str]]:
    """Metadata that carries the current trace to the next service (W3C Trace Context)."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())


def traceparent() -> str:
    """The current span as a traceparent header value, or an empty string outside a trace."""
    return dict(outgoing()).get("traceparent", "")
