# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the predictions in the event log, in a process that has nothing to do with the platform.

python -m demo.logged HOME MODEL VERSION     prints {"events": N, "distinct": N, "errors": N}
"""

import json
import subprocess
import sys
from pathlib import Path

from dragoman.events.v1 import events_pb2
from dragoman_client.local.event_log import log_of
from dragoman_client.local.home import Home
from dragoman_events.message_event import message_of
from dragoman_events.topics import PREDICTIONS

_MAX_RECORDS = 500


def count(home: Path, model: str, version: int) -> dict[str, int]:
    """Prediction events of one version: all answered, those with different (request id, row), and refused rows."""
    log = log_of(Home(home.absolute()))
    answered, errors = [], 0
    for partition in log.end_offsets(PREDICTIONS):
        offset = 0
        while records := log.read(PREDICTIONS, offset, _MAX_RECORDS, partition=partition):
            for record in records:
                prediction = message_of(record.event(), events_pb2.Prediction)
                if (prediction.model, prediction.version) != (model, version):
                    continue
                if prediction.code == "OK":
                    answered.append((prediction.tenant, prediction.request_id, prediction.row))
                else:
                    errors += 1
            offset = records[-1].offset + 1
    log.close()
    return {"events": len(answered), "distinct": len(set(answered)), "errors": errors}


def count_in_another_process(home: Path, model: str, version: int) -> dict[str, int]:
    """As `count`, by a process of its own."""
    command = [sys.executable, "-m", "demo.logged", str(home), model, str(version)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603  our own module
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(count(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))) + "\n")
