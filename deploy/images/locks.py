# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script, in no package
"""Which distributions each image holds: the part of requirements.lock that its service needs, and nothing beside it.

members' pyproject.toml + the metadata of what is installed here -> closure of names -> lines of requirements.lock

    python deploy/images/locks.py            writes locks/*.lock and *.members again
    python deploy/images/locks.py --check    exit status 1 if they are not what would be written

Owns the table of images. Builds nothing, and asks no index: hashes and versions are those of requirements.lock.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "locks"
BUILD_TOOLS = ("hatchling", "grpcio-tools", "mypy-protobuf")
# What only the CUDA build of torch needs; a CPU wheel does without.
_CUDA = ("nvidia-", "cuda-", "triton")


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image: a member with the extras that a cluster needs."""

    name: str
    service: str
    extras: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"dragoman-{self.service}" + (f"[{','.join(self.extras)}]" if self.extras else "")


IMAGES = (
    Image(name="gateway", service="gateway", extras=("kafka",)),
    Image(name="tokenizer", service="tokenizer"),
    Image(name="registry", service="registry", extras=("kafka",)),
    Image(name="worker-lite", service="worker"),
    Image(name="worker-torch", service="worker", extras=("torch",)),
    Image(name="launcher", service="launcher", extras=("kafka", "kubernetes")),
    Image(name="trainer-lite", service="trainer"),
    Image(name="trainer-torch", service="trainer", extras=("torch",)),
    Image(name="monitor", service="monitor", extras=("kafka", "postgres")),
    Image(name="autoscaler", service="autoscaler"),
    # The `dragoman` command: the chart's own jobs, and users without Python.
    Image(name="client", service="client", extras=("cluster", "doctor")),
)


def members() -> dict[str, Mapping[str, object]]:
    """Every workspace member's [project] table, by name."""
    files = [
        ROOT / "protos/pyproject.toml",
        *ROOT.glob("libs/*/pyproject.toml"),
        *ROOT.glob("services/*/pyproject.toml"),
    ]
    projects = [tomllib.loads(path.read_text())["project"] for path in files]
    return {project["name"]: project for project in projects}


def closure(wanted: Iterable[str]) -> set[str]:
    """Return the names of all distributions that the requirements lead to, members among them.

    Markers are judged by this interpreter, which is the images': Python 3.11 on Linux.

    Raises:
        PackageNotFoundError: one of them is not installed here; `make setup` does that.
    """
    known = members()
    todo = [Requirement(text) for text in wanted]
    done: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            todo += [
                below
                for below in _requirements(name, known)
                if below.marker is None or below.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in done}


def without_cuda(names: Iterable[str]) -> set[str]:
    """Return what of these a CPU wheel of torch needs."""
    return {name for name in names if not name.startswith(_CUDA)}


def _requirements(name: str, known: Mapping[str, Mapping[str, object]]) -> list[Requirement]:
    if name not in known:
        return [Requirement(text) for text in requires(name) or ()]
    project = known[name]
    found = [Requirement(text) for text in project.get("dependencies", ())]  # type: ignore[attr-defined]
    for extra, texts in project.get("optional-dependencies", {}).items():  # type: ignore[attr-defined]
        found += [Requirement(f'{text}; extra == "{extra}"') for text in texts]
    return found


def entries() -> dict[str, str]:
    """The entries of requirements.lock by distribution name: version, marker and hashes, as they stand there."""
    texts = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    return {canonicalize_name(re.split(r"[=\[ ;]", text, maxsplit=1)[0]): text for text in texts}


def files() -> dict[str, str]:
    """Every file of the folder of locks, by its name."""
    locked = entries()

    def lock(names: Iterable[str]) -> str:
        return "".join(f"{locked[name]}\n" for name in sorted(set(names) - set(members())))

    found = {"build.lock": lock(closure(BUILD_TOOLS))}
    lite: dict[str, set[str]] = {}
    for image in IMAGES:
        names = closure([image.requirement])
        if image.extras == ("torch",):
            # Only what comes on top of the lite image: one layer, the same for worker and trainer.
            above = names - lite[image.service]
            found.setdefault("torch.lock", lock(above))
            if found["torch.lock"] != lock(above):
                raise ValueError(f"{image.name} adds other distributions than the torch image before it")
            found["torch-cpu.lock"] = lock(without_cuda(above) - {"torch"})
            continue
        lite[image.service] = names
        found[f"{image.service}.lock"] = lock(names)
        found[f"{image.service}.members"] = f"{image.requirement}\n"
    return found


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit status."""
    wanted = files()
    if arguments == ["--check"]:
        there = {path.name: path.read_text() for path in FOLDER.glob("*")}
        differing = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if differing:
            sys.stderr.write(f"{', '.join(differing)}: run `python deploy/images/locks.py`\n")
        return bool(differing)
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*"):
        path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
