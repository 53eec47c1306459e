# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the Python code of every .proto below this folder into gen/, before the distribution is packed."""

import shutil
import sys
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).parent
STUBS = ("mypy", "mypy_grpc")


class ProtoBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc with the Python, gRPC and stub plugins; gen/ is made anew each time."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        gen = HERE / "gen"
        shutil.rmtree(gen, ignore_errors=True)
        gen.mkdir()
        sources = sorted(str(p.relative_to(HERE)) for p in HERE.rglob("*.proto"))
        well_known = Path(protoc.__file__).parent / "_proto"
        flags = ["--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out"]
        # The stub plugins are scripts: beside the interpreter, or, in an isolated build, on the builder's path.
        scripts = [
            shutil.which(f"protoc-gen-{n}", path=str(Path(sys.executable).parent)) or shutil.which(f"protoc-gen-{n}")
            for n in STUBS
        ]
        plugins = [f"--plugin=protoc-gen-{name}={script}" for name, script in zip(STUBS, scripts, strict=True)]
        arguments = ["protoc", f"-I{HERE}", f"-I{well_known}", *plugins, *(f"{flag}={gen}" for flag in flags), *sources]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc failed; its message is above")
        for folder in {p.parent for p in gen.rglob("*_pb2.py")}:
            (folder / "py.typed").touch()
