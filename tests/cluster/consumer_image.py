# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""python -m tests.cluster.consumer_image [BASE_IMAGE]: examples/consumer as an image, from its own Dockerfile.

What is sent to the engine is the program, its requirements and the published protos of events, and nothing else.
"""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.cluster.places import CONSUMER_IMAGE
from tests.deploy.helm import ROOT

FOLDER = "examples/consumer/python"
FILES = (f"{FOLDER}/Dockerfile", f"{FOLDER}/consumer.py", f"{FOLDER}/requirements.txt")
BUILD_S = 600


def main(arguments: list[str]) -> None:
    """Build it."""
    sent = {name: ROOT / name for name in FILES}
    sent |= {str(path.relative_to(ROOT)): path for path in (ROOT / "protos/dragoman/events").rglob("*.proto")}
    if authorities := os.environ.get("PIP_CERT"):
        sent[f"{FOLDER}/ca.pem"] = Path(authorities)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in sent.items():
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    base = f"--build-arg=BASE_IMAGE={arguments[0]}" if arguments else "--quiet"
    options = ["--quiet", "--network=host", f"--file={FOLDER}/Dockerfile", f"--tag={CONSUMER_IMAGE}", base]
    subprocess.run(["docker", "build", *options, "-"], input=context.getvalue(), check=True, timeout=BUILD_S)


if __name__ == "__main__":
    main(sys.argv[1:])
