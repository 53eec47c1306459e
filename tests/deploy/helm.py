# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A pinned Helm, built by `go install` once a machine, and what it makes of our chart.

python -m tests.deploy.helm FOLDER VALUES...     renders the chart into a folder, a file for each template
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from tests.parts.cache import made_once
from tests.parts.missing import MissingPartError

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/dragoman"
VALUES = ROOT / "deploy/helm/values"
MODULE, VERSION = "helm.sh/helm/v3/cmd/helm", "v3.22.0"
RELEASE, NAMESPACE, KUBE_VERSION = "dragoman", "models", "1.33.0"
_BUILD_S = 1200


@cache
def binary() -> Path:
    """Return the helm program.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """
    return installed("helm", MODULE, VERSION)


def installed(program: str, module: str, version: str) -> Path:
    """Return a program of a Go module, built once a machine.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """

    def build(folder: Path) -> None:
        if shutil.which("go") is None:
            raise MissingPartError(f"there is no Go to build {module} with")
        sys.stderr.write(f"building {program} {version}, once\n")
        built = subprocess.run(
            ["go", "install", "-trimpath", "-ldflags=-s -w", f"{module}@{version}"],
            # By itself in an image, too.
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=_BUILD_S,
            check=False,
        )
        if built.returncode:
            raise MissingPartError(f"go install {module}@{version}: {' '.join(built.stderr.split())[-400:]}")

    return made_once(program, version, build) / program


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; nothing of the user's own Helm settings counts."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECONFIG": "/nonexistent"}
    command = [str(binary()), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def template(*files: Path, values: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Render the chart with values files, and key=value pairs over them."""
    given = [f"--values={file}" for file in files] + [f"--set={pair}" for pair in values]
    return helm("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", f"--kube-version={KUBE_VERSION}", *given)


def objects(*files: Path, values: tuple[str, ...] = ()) -> list[dict]:
    """The objects of a rendering.

    Raises:
        AssertionError: it does not render.
    """
    rendered = template(*files, values=values)
    assert rendered.returncode == 0, rendered.stderr
    return [document for document in yaml.safe_load_all(rendered.stdout) if document]


def main(folder: str, namespace: str, *files: str) -> None:
    """Render for who has no Helm; helm's own text says what is missing."""
    given = [f"--values={file}" for file in files]
    given += [f"--namespace={namespace}", f"--kube-version={KUBE_VERSION}", "--skip-tests"]
    rendered = helm("template", RELEASE, str(CHART), *given)
    if rendered.returncode:
        sys.exit(rendered.stderr)
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "dragoman.yaml").write_text(rendered.stdout)
    sys.stdout.write(f"{folder}/dragoman.yaml: kubectl apply -n {namespace} -f it\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
