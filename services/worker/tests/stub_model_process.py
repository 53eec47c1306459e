# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real model process around a stub classifier whose rows say what it does: the first id is the order.

WAIT ms ...   takes that long          CRASH ...   dies of SIGSEGV          RAISE ...   raises
LOSE ...      raises what torch does when CUDA fails, while there is a file `failing-device` in the model's folder
anything else: scores [sum of ids, number of ids]
"""

import ctypes
import errno
import itertools
import os
import resource
import signal
import sys
import time
from types import SimpleNamespace

import numpy as np

from dragoman_common.errors import DataLossError, InvalidArgumentError
from dragoman_worker import fork_server, model_process

WAIT, CRASH, RAISE, REFUSE, TOO_FEW, LOSE = 1001, 1002, 1003, 1004, 1005, 1006


class AcceleratorError(RuntimeError):
    """torch's, without the seconds that torch takes to import."""


class StubClassifier:
    num_labels = 2

    def __init__(self, folder):
        self._folder = folder

    def score(self, batch):
        for row in batch:
            if row[0] == WAIT:
                time.sleep(int(row[1]) / 1000)
            elif row[0] == CRASH:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGSEGV, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGSEGV)
                ctypes.pythonapi.abort()
            elif row[0] == RAISE:
                raise ValueError("a bug in the model")
            elif row[0] == REFUSE:
                raise InvalidArgumentError("row 0: refused")
            elif row[0] == LOSE and (self._folder / "failing-device").exists():
                sys.modules["torch"] = SimpleNamespace(AcceleratorError=AcceleratorError)
                raise AcceleratorError("CUDA error: unspecified launch failure")
            elif row[0] == TOO_FEW:
                return np.zeros((len(batch) - 1, 2), dtype=np.float32)
        return np.array([[row.sum(), row.size] for row in batch], dtype=np.float32)

    def warm_up(self):
        pass


def load(files):
    if files.sha256_by_path.get("model.json") == "tampered":
        raise DataLossError("model.json: its SHA-256 is not the one that was signed")
    if files.sha256_by_path.get("model.json") == "hangs":
        time.sleep(3600)
    return StubClassifier(files.folder)


def fail_fork(number):
    """Have the fork of that number fail; they count from 1."""
    real, numbers = os.fork, itertools.count(1)

    def fork():
        if next(numbers) == number:
            raise BlockingIOError(errno.EAGAIN, "no process left")
        return real()

    os.fork = fork


if __name__ == "__main__":
    if sys.argv[1] == "fork-server":
        fail_fork(int(os.environ.get("STUB_FAILING_FORK", "0")))
        device, descriptor = sys.argv[2:]
        sys.exit(
            fork_server.main(int(descriptor), lambda fd: model_process.main([device, str(fd)], load), preloaded=())
        )
    sys.exit(model_process.main(sys.argv[1:], load))
