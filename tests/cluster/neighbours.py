# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Kueue and cert-manager, each by its own chart, in a cluster that has them not yet.

Their images are built here, from Go: nothing is pulled. Kueue's program is in a Go module; cert-manager's are not, so
DRAGOMAN_TEST_CERT_MANAGER names a checkout of its source.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.installation import Installation
from tests.cluster.kubectl import Kubectl
from tests.deploy import helm
from tests.parts.missing import MissingPartError

CERT_MANAGER_SOURCE = "DRAGOMAN_TEST_CERT_MANAGER"
KUEUE_MODULE, KUEUE_VERSION = "sigs.k8s.io/kueue", "v0.17.0"
CERT_MANAGER_PROGRAMS = ("controller", "webhook", "cainjector", "acmesolver", "startupapicheck")
BUILD_S = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """What somebody else runs in the cluster.

    Attributes:
        api_group: One that it serves.
        chart: Its own.
        programs: By the image that holds it and nothing else.
        values: key=value pairs that name the images.
    """

    name: str
    namespace: str
    api_group: str
    chart: Path
    programs: dict[str, Path]
    values: tuple[str, ...]


def kueue() -> Neighbour:
    """Return Kueue, built once a machine.

    Raises:
        MissingPartError: no Go, or it cannot build it.
    """
    program = helm.installed("kueue", f"{KUEUE_MODULE}/cmd/kueue", KUEUE_VERSION)
    module = json.loads(_go("mod", "download", "-json", f"{KUEUE_MODULE}@{KUEUE_VERSION}", cwd=program.parent))
    manager = "controllerManager.manager"
    return Neighbour(
        name="kueue",
        namespace="kueue-system",
        api_group="kueue.x-k8s.io",
        chart=Path(module["Dir"]) / "charts/kueue",
        programs={f"localhost/kueue:{KUEUE_VERSION}": program},
        values=(
            *_image(f"{manager}.image", "localhost/kueue", KUEUE_VERSION),
            # The test's node is small.
            f"{manager}.resources.requests.cpu=20m",
        ),
    )


def cert_manager() -> Neighbour:
    """Return cert-manager, built from the checkout that was named.

    Raises:
        MissingPartError: none was named, or no Go.
        AssertionError: it cannot build it.
    """
    if not (named := os.environ.get(CERT_MANAGER_SOURCE)):
        raise MissingPartError(f"{CERT_MANAGER_SOURCE} names no checkout of cert-manager to build")
    source, built = Path(named), Path(named) / "_bin/dragoman"
    for program in CERT_MANAGER_PROGRAMS:
        _go("build", "-trimpath", "-ldflags=-s -w", "-o", str(built / program), ".", cwd=source / "cmd" / program)
    # What is installed here goes again, kinds and all.
    values = ["crds.enabled=true", "crds.keep=false"]
    for program in CERT_MANAGER_PROGRAMS:
        key = "image" if program == "controller" else f"{program}.image"
        values += _image(key, f"localhost/cert-manager-{program}", "test")
    return Neighbour(
        name="cert-manager",
        namespace="cert-manager",
        api_group="cert-manager.io",
        chart=source / "deploy/charts/cert-manager",
        programs={f"localhost/cert-manager-{program}:test": built / program for program in CERT_MANAGER_PROGRAMS},
        values=tuple(values),
    )


@contextmanager
def beside(
    kubectl: Kubectl, find: Callable[[], Neighbour], api_group: str, load: Callable[[Sequence[str]], None] | None
) -> Iterator[None]:
    """Have it in the cluster for the time of the block; one that is there already is used, and stays.

    Args:
        kubectl: Of the cluster.
        find: Builds it.
        api_group: By which it is known to be there.
        load: Hands images to the nodes; None where nothing can.
    """
    if kubectl.run("api-resources", f"--api-group={api_group}", "--output=name").strip():
        yield
        return
    if load is None:
        pytest.skip(f"this cluster does not serve {api_group}, and no command hands it images")
    try:
        found = find()
    except MissingPartError as error:
        pytest.skip(f"this cluster does not serve {api_group}: {error}")
    for image, program in found.programs.items():
        _build_image(image, program)
    load(tuple(found.programs))
    release = Installation(Kubectl(kubectl.kubeconfig, found.namespace))
    given = [f"--set={pair}" for pair in found.values]
    try:
        release.helm("install", found.name, str(found.chart), "--create-namespace", "--wait", "--timeout=5m", *given)
        yield
    finally:
        # Also of one that did not come up: a later run would take it for one that was there.
        try:
            release.helm("uninstall", found.name, "--wait", "--timeout=3m")
        finally:
            kubectl.run("delete", "namespace", found.namespace, "--wait=true", timeout_s=180)


def _image(key: str, repository: str, tag: str) -> tuple[str, ...]:
    return (f"{key}.repository={repository}", f"{key}.tag={tag}", f"{key}.pullPolicy=Never")


def _go(*arguments: str, cwd: Path) -> str:
    if shutil.which("go") is None:
        raise MissingPartError("there is no Go")
    environ = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(
        ["go", *arguments], cwd=cwd, env=environ, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    # A test that is skipped for it would never say so.
    assert not done.returncode, f"go {arguments[0]} in {cwd.name}: {' '.join(done.stderr.split())[-400:]}"
    return done.stdout


def _build_image(name: str, program: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        shutil.copy2(program, Path(work) / "manager")
        text = 'FROM scratch\nUSER 65532:65532\nCOPY manager /manager\nENTRYPOINT ["/manager"]\n'
        (Path(work) / "Dockerfile").write_text(text)
        subprocess.run(["docker", "build", "--quiet", f"--tag={name}", work], check=True, timeout=300)
