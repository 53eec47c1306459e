# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A job's record as an annotation of its Job, from which a launcher that lost its store finds the job again. Pure.

JobSpec -> record as stored (job_record.py) -> zlib -> base64 -> text, and back
"""

import base64
import binascii
import zlib
from typing import Final

from dragoman_launcher.job import JobSpec
from dragoman_launcher.job_objects import RECORD_ANNOTATION, Manifest
from dragoman_launcher.job_record import CorruptJobError, record_from_json, record_to_json

MAX_TEXT_BYTES: Final = 200 * 1024
"""All annotations of an object together may have 256 KiB."""
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024


def record_text(spec: JobSpec) -> str:
    """The annotation; empty for a record that is too large for one, which then lives in the store alone."""
    text = base64.b64encode(zlib.compress(record_to_json(spec), 9)).decode()
    return text if len(text) <= MAX_TEXT_BYTES else ""


def recorded_spec(job: Manifest) -> JobSpec | None:
    """The record that a Job carries, or None when it carries none.

    Raises:
        CorruptJobError: it carries something else.
    """
    text = (job["metadata"].get("annotations") or {}).get(RECORD_ANNOTATION)
    if not text:
        return None
    name = str(job["metadata"]["name"])
    unpack = zlib.decompressobj()
    try:
        data = unpack.decompress(base64.b64decode(text, validate=True), MAX_RECORD_BYTES)
    except (binascii.Error, zlib.error, ValueError):
        raise CorruptJobError(f"The annotation of {name} is not a record.") from None
    if not unpack.eof:
        raise CorruptJobError(f"The annotation of {name} is cut, or unpacks to more than {MAX_RECORD_BYTES} bytes.")
    return record_from_json(data, job_id=name)
