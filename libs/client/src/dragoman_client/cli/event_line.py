# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""An event as one line for people. Pure: from the document that --json prints."""

from collections.abc import Callable, Mapping
from typing import Any

Data = Mapping[str, Any]


def event_line(document: Data) -> str:
    """Time, topic, offset, and what happened; an event that is none of ours by its type alone."""
    time = str(document["time"] or "-").partition(".")[0].removesuffix("Z")
    topic = str(document["topic"]).removeprefix("dragoman.")
    data = document["data"]
    told = _TOLD.get(str(document["type"]).rpartition(".")[2])
    what = told(data) if told and data is not None else f"{document['type'] or 'no event'} (see --json)"
    return f"{time}  {topic:11} {document['offset']:>6}  {' '.join(what.split())}"


def _prediction(data: Data) -> str:
    named = f"{data.get('model', '?')} version {data.get('version', '?')}"
    answer = f"{data.get('label', '')} {float(data.get('score', 0.0)):.4f}"
    if data.get("code") != "OK":
        answer = str(data.get("code", "?"))
    latency = f"{float(data.get('latency_ms', 0.0)):.1f} ms"
    return f"{named}: {answer} ({latency}, {data.get('request_id', '')} {data.get('row', 0)})"


def _feedback(data: Data) -> str:
    return f"{data.get('request_id', '')} {data.get('row', 0)} is {data.get('true_label', '')}"


def _published(data: Data) -> str:
    digest = str(data.get("root_sha256", ""))[:12]
    return f"{data.get('model')} version {data.get('version')} ({digest}) published by {data.get('publisher', '')}"


def _moved(data: Data) -> str:
    where = f"{data.get('model')}@{data.get('alias')} -> version {data.get('stable_version')}"
    return f"{where} by {data.get('moved_by', '')}: {data.get('reason', '')}"


def _job(data: Data) -> str:
    version = f" version {data['published_version']}" if "published_version" in data else ""
    message = f": {data['message']}" if data.get("message") else ""
    return f"{data.get('job_id')} of {data.get('model')} {data.get('state')}{version}{message}"


def _dead(data: Data) -> str:
    return f"{data.get('topic')} {data.get('offset', 0)}: {data.get('reason', '')}"


_TOLD: Mapping[str, Callable[[Data], str]] = {
    "Prediction": _prediction,
    "Feedback": _feedback,
    "VersionPublished": _published,
    "AliasMoved": _moved,
    "JobChanged": _job,
    "DeadLetter": _dead,
}
