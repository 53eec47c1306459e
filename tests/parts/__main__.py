# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The real parts for a developer: Kafka, MinIO and Postgres, found as tests find them. Their data goes when they end.

python -m tests.parts up                    until Ctrl-C; build/real/env says where, for `dragoman up --real --env`
python -m tests.parts run COMMAND [ARG...]  for as long as the command runs, which finds them in its environment
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.parts import together
from tests.parts.missing import MissingPartError

FOLDER = Path("build/real").absolute()


def main(arguments: list[str]) -> int:
    if arguments[:1] not in (["up"], ["run"]) or (arguments[0] == "run") == (len(arguments) == 1):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o711)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"the parts of {FOLDER} are running already\n")
            return 1
        # Told to end, it still stops what it has started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        shutil.rmtree(FOLDER / "data", ignore_errors=True)
        env = FOLDER / "env"
        try:
            with together.running(FOLDER / "data") as parts:
                if arguments[0] == "run":
                    return subprocess.run(
                        arguments[1:], env=os.environ | parts.environ | {"DRAGOMAN_UP_REAL": "true"}, check=False
                    ).returncode
                env.touch(mode=0o600)
                env.write_text("".join(f"{name}={value}\n" for name, value in parts.environ.items()))
                sys.stdout.write(f"running; in another terminal: dragoman up --real --env {os.path.relpath(env)}\n")
                sys.stdout.flush()
                signal.pause()
        except MissingPartError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            env.unlink(missing_ok=True)
            shutil.rmtree(FOLDER / "data", ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
