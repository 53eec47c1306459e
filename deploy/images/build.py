# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001, S603, S607 - a script, in no package; it runs the docker that the user has
"""`make images`: builds every service's image, checks what each holds, and lists sizes.

members' sources -> one small context -> docker build -> image + build/images/<image>.cdx.json

The context holds only what the Dockerfile copies, whatever else lies in the folder. Docker's own settings say where
engine and package index are.
"""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import locks

ROOT = locks.ROOT
OUT = ROOT / "build/images"
DOCKERFILE = "deploy/images/Dockerfile"
LITE = tuple(image.name for image in locks.IMAGES if image.extras != ("torch",))
_SOURCES = (
    "protos/**/*",
    "libs/*/pyproject.toml",
    "libs/*/src/**/*",
    "services/*/pyproject.toml",
    "services/*/src/**/*",
)
_BUILD_S = 3600


def context() -> bytes:
    """Return what is sent to the engine, as a tar without times and owners: the same sources give the same layers."""
    paths = [path for pattern in (*_SOURCES, "deploy/images/**/*") for path in ROOT.glob(pattern) if path.is_file()]
    kept = [path for path in paths if "__pycache__" not in path.parts and ROOT / "protos/gen" not in path.parents]
    sent = {str(path.relative_to(ROOT)): path for path in kept}
    if authorities := os.environ.get("PIP_CERT"):
        sent.setdefault("deploy/images/given/ca.pem", Path(authorities))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(sent.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                archive.addfile(entry, source)
    return buffer.getvalue()


def build(image: locks.Image, sources: bytes, options: argparse.Namespace) -> str:
    """Build one image and return its name.

    Raises:
        CalledProcessError: the engine could not; its own text is on stderr.
    """
    tag = f"{options.repository}-{image.name}:{options.tag}"
    values = {
        "SERVICE": image.service,
        "BASE_IMAGE": options.base_image,
        "VERSION": options.tag,
        "REVISION": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "TORCH_WHEEL": options.torch_wheel,
        "TORCH_WHEEL_SHA256": options.torch_wheel_sha256,
    }
    target = "torch" if image.extras == ("torch",) else "lite"
    arguments = [*(f"--build-arg={name}={value}" for name, value in values.items() if value), f"--tag={tag}", "-"]
    subprocess.run(
        ["docker", "build", "--quiet", "--network=host", f"--file={DOCKERFILE}", f"--target={target}", *arguments],
        input=sources,
        check=True,
        timeout=_BUILD_S,
        stdout=subprocess.DEVNULL,
    )
    return tag


def check(image: locks.Image, tag: str, *, has_cuda: bool) -> int:
    """See that the image holds what its locks name and nothing beside it; keep its bill of materials.

    Returns:
        The image's size in bytes.

    Raises:
        SystemExit: it holds something else, or a compiler.
    """
    run = ("docker", "run", "--rm", "--read-only", "--network=none", "--entrypoint")
    bill = _output(*run, "cat", tag, "/opt/dragoman/share/sbom.cdx.json")
    (OUT / f"{image.name}.cdx.json").write_text(bill + "\n")
    held = {
        found[1]
        for component in json.loads(bill)["components"]
        if (found := re.fullmatch(r"pkg:pypi/(.+)@.+", component["purl"]))
    }
    wanted = locks.closure([image.requirement])
    if not has_cuda:
        wanted = locks.without_cuda(wanted)
    # A Debian base lists its own: python:3.11-slim's pip is another interpreter's, and in no image's environment.
    if held != wanted:
        raise SystemExit(f"{tag}: more {sorted(held - wanted)}, less {sorted(wanted - held)} than its locks")
    compilers = _output(*run, "sh", tag, "-c", "for each in cc gcc g++ clang pip; do command -v $each; done; true")
    if [line for line in compilers.splitlines() if not line.startswith("/usr/local/bin/pip")]:
        raise SystemExit(f"{tag}: holds {compilers}")
    return int(_output("docker", "image", "inspect", "--format={{.Size}}", tag))


def main() -> None:
    """Build what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(LITE), help="images, comma-separated; all: torch ones too, 5 GB")
    parser.add_argument("--repository", default="localhost/dragoman")
    parser.add_argument("--tag", default="0.1.0")
    parser.add_argument("--base-image", default="python:3.11-slim")
    parser.add_argument("--torch-wheel", default="")
    parser.add_argument("--torch-wheel-sha256", default="")
    options = parser.parse_args()
    known = {image.name: image for image in locks.IMAGES}
    names = list(known) if options.only == "all" else options.only.split(",")
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no such image: {', '.join(unknown)}; known are {', '.join(known)}")
    if locks.main(["--check"]):
        raise SystemExit(1)
    OUT.mkdir(parents=True, exist_ok=True)
    sources = context()
    for name in names:
        tag = build(known[name], sources, options)
        sys.stdout.write(f"{tag:48} {check(known[name], tag, has_cuda=not options.torch_wheel) / 1e6:6.0f} MB\n")
        sys.stdout.flush()


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


if __name__ == "__main__":
    main()
