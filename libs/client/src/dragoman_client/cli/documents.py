# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The JSON documents of --json, from the services' messages. Pure; docs/cli.md shows one of each, and a test compares.

Names are the protos' own; times are RFC 3339 in UTC; what is unset is null.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.inference.v1 import worker_pb2
from dragoman.launcher.v1 import launcher_pb2
from dragoman.monitor.v1 import monitor_pb2
from dragoman.registry.v1 import data_pb2, registry_pb2
from dragoman_client.cli.loading import Loading
from dragoman_client.local.state import PlatformState, ServiceState
from dragoman_client.results import ClassifyResult

Document = dict[str, Any]


def service_document(service: ServiceState) -> Document:
    return {
        "name": service.name,
        "state": service.state,
        "pid": service.pid or None,
        "port": service.port or None,
        "num_restarts": service.num_restarts,
        "start_time": service.start_time or None,
        "log": service.log,
    }


def platform_document(state: PlatformState | None, home: str) -> Document:
    return {
        "running": state is not None,
        "phase": state.phase if state else "stopped",
        "home": home,
        "grpc_target": state.grpc_target if state else None,
        "http_address": state.http_address if state else None,
        "supervisor_pid": state.supervisor_pid if state else None,
        "services": [service_document(service) for service in state.services] if state else [],
    }


def failed_version_documents(loaded: Sequence[worker_pb2.LoadedVersion]) -> list[Document]:
    return [
        {"model": version.model, "version": version.number, "reason": version.reason}
        for version in loaded
        if version.state == worker_pb2.LOAD_STATE_FAILED
    ]


def stored_document(found: data_pb2.DataSet) -> Document:
    return {
        "name": found.name,
        "number": found.number,
        "sha256": found.sha256,
        "size_bytes": sum(file.size_bytes for file in found.files),
        "files": {file.path: file.sha256 for file in found.files},
        "put_by": found.put_by,
        "put_time": time_text(found, "put_time"),
    }


def job_document(job: launcher_pb2.Job) -> Document:
    progress = job.progress
    return {
        "id": job.id,
        "model": job.model,
        "state": job_state_name(job),
        "message": job.message,
        "request_id": job.request_id,
        "submitted_by": job.submitted_by,
        "create_time": time_text(job, "create_time"),
        "start_time": time_text(job, "start_time"),
        "end_time": time_text(job, "end_time"),
        "progress": {
            "stage": progress.stage,
            "epoch": progress.epoch,
            "num_epochs": progress.num_epochs,
            "step": progress.step,
            "num_steps": progress.num_steps,
            "eta_s": progress.eta.ToTimedelta().total_seconds() if progress.HasField("eta") else None,
            "metrics": dict(sorted(progress.metrics.items())),
        },
        "published_version": job.published_version or None,
        "published_root_sha256": job.published_root_sha256 or None,
    }


def job_state_name(job: launcher_pb2.Job) -> str:
    """PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED."""
    return launcher_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")


def alias_document(event: registry_pb2.AliasEvent) -> Document:
    return {
        "model": event.model,
        "alias": event.alias,
        "sequence": event.sequence,
        "version": event.stable_version,
        "root_sha256": event.stable_root_sha256,
        "reason": event.reason,
        "gate_summary": event.gate_summary,
        "moved_by": event.moved_by,
        "move_time": time_text(event, "move_time"),
        "previous_sha256": event.previous_sha256 or None,
    }


def model_document(model: registry_pb2.ModelSummary, loadings: Mapping[str, Loading]) -> Document:
    """A model; `loadings` by alias: whether the worker is ready for the version that it points to."""
    return {
        "model": model.model,
        "num_versions": model.num_versions,
        "newest_version": model.newest_version,
        "aliases": [
            {
                "alias": event.alias,
                "version": event.stable_version,
                "root_sha256": event.stable_root_sha256,
                "sequence": event.sequence,
                "load_state": loadings[event.alias].state,
                "load_reason": loadings[event.alias].reason or None,
            }
            for event in model.aliases
        ],
    }


def version_document(version: registry_pb2.ModelVersion) -> Document:
    return {
        "model": version.model,
        "number": version.number,
        "root_sha256": version.root_sha256,
        "task": version.task,
        "architecture": version.architecture,
        "labels": list(version.labels),
        "files": [{"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in version.files],
        "publish_time": time_text(version, "publish_time"),
        "publisher": version.publisher,
    }


def prediction_documents(result: ClassifyResult) -> list[Document]:
    return [
        {
            "request_id": result.request_id,
            "row": index,
            "model": result.model,
            "version": result.version,
            "root_sha256": result.root_sha256,
            "label": row.label,
            "scores": dict(zip(result.labels, row.scores, strict=True)),
            "truncated": row.truncated,
        }
        for index, row in enumerate(result.rows)
    ]


def report_document(model: str, report: monitor_pb2.GetReportResponse) -> Document:
    freshness = report.freshness
    return {
        "model": model,
        "versions": [
            {"version": version.version, "arm": version.arm, **_measures_document(version.total)}
            for version in report.versions
        ],
        "freshness": {
            "predictions_lag": freshness.predictions_lag,
            "feedback_lag": freshness.feedback_lag,
            "num_duplicates": freshness.num_duplicates,
            "num_dead_letters": freshness.num_dead_letters,
            "num_unjoined_feedback": freshness.num_unjoined_feedback,
            "num_expired_feedback": freshness.num_expired_feedback,
            "num_late_predictions": freshness.num_late_predictions,
            "num_lost_events": freshness.num_lost_events,
        },
    }


def _measures_document(measures: monitor_pb2.Measures) -> Document:
    latency = measures.latency
    return {
        "num_predictions": measures.num_predictions,
        "num_errors": measures.num_errors,
        "errors_by_code": dict(sorted(measures.errors_by_code.items())),
        "latency": {
            "p50_ms": latency.p50_ms,
            "p90_ms": latency.p90_ms,
            "p99_ms": latency.p99_ms,
            "max_ms": latency.max_ms,
            "relative_error": latency.relative_error,
        },
        "predictions_by_label": dict(sorted(measures.predictions_by_label.items())),
        "num_labelled": measures.num_labelled,
        "num_correct": measures.num_correct,
        "accuracy": _optional(measures, "accuracy"),
        "macro_recall": _optional(measures, "macro_recall"),
        "answered_macro_recall": _optional(measures, "answered_macro_recall"),
        "coverage": _optional(measures, "coverage"),
        "coverage_threshold": measures.coverage_threshold,
        "covered_accuracy": _optional(measures, "covered_accuracy"),
        "confusion": [
            {
                "true_label": c.true_label,
                "predicted_label": c.predicted_label,
                "count": c.count,
                "true_is_other": c.true_is_other,
                "predicted_is_other": c.predicted_is_other,
            }
            for c in measures.confusion
        ],
        "label_bounds": {
            "num_unanswered_labels": measures.label_bounds.num_unanswered_labels,
            "num_unanswered": measures.label_bounds.num_unanswered,
            "num_merged_true_labels": measures.label_bounds.num_merged_true_labels,
            "num_merged_true": measures.label_bounds.num_merged_true,
            "num_merged_predicted_labels": measures.label_bounds.num_merged_predicted_labels,
            "num_merged_predicted": measures.label_bounds.num_merged_predicted,
        },
        "num_truncated": measures.num_truncated,
        "unknown_token_share": _optional(measures, "unknown_token_share"),
    }


def _optional(message: monitor_pb2.Measures, name: str) -> float | None:
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def time_text(message: Any, name: str) -> str | None:
    """A Timestamp field as RFC 3339; None where it is unset."""
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")
