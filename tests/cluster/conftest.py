# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A real cluster, its images, and one installation for the folder's tests. Without a cluster they are skipped.

DRAGOMAN_TEST_KUBECONFIG  a cluster that runs; its nodes have the images, or DRAGOMAN_TEST_LOAD_IMAGES hands them over
DRAGOMAN_TEST_LOAD_IMAGES a command that takes image names: "kind load docker-image"
DRAGOMAN_TEST_KEEP        set: the namespace stays, and the next run goes on with it
DRAGOMAN_TEST_CLUSTER     a command that knows `up`, `keda`, `load IMAGE...`, `env`, `down`: brought up, taken down
DRAGOMAN_TEST_CERT_MANAGER a checkout of cert-manager's source, for a cluster without it (neighbours.py)
DRAGOMAN_TEST_TORCH       set: with the images that have torch, 6 GB each (make images ONLY=worker-torch,trainer-torch)
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster.installation import Installation
from tests.cluster.kubectl import Kubectl
from tests.cluster.load import Load
from tests.cluster.places import IMAGES, NAMESPACE, TORCH_IMAGES, VALUES, VALUES_TWO, namespace

COMMAND = "DRAGOMAN_TEST_CLUSTER"
KUBECONFIG = "DRAGOMAN_TEST_KUBECONFIG"
LOAD_IMAGES = "DRAGOMAN_TEST_LOAD_IMAGES"


def run(command: str, *arguments: str) -> str:
    done = subprocess.run(
        [*shlex.split(command), *arguments], stdout=subprocess.PIPE, text=True, timeout=3600, check=True
    )
    return done.stdout


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """A cluster's, with our images on its nodes."""
    command, given = os.environ.get(COMMAND), os.environ.get(KUBECONFIG)
    images = (*IMAGES, *(TORCH_IMAGES if "DRAGOMAN_TEST_TORCH" in os.environ else ()))
    if given:
        if load := os.environ.get(LOAD_IMAGES):
            run(load, *images)
        yield Path(given)
    elif command:
        run(command, "up")
        try:
            run(command, "keda")
            run(command, "load", *images)
            words = dict(word.split("=", 1) for word in shlex.split(run(command, "env")) if "=" in word)
            yield Path(words["KUBECONFIG"])
        finally:
            run(command, "down")
    else:
        pytest.skip(f"no cluster: neither {KUBECONFIG} nor {COMMAND} is set")


@pytest.fixture(scope="session")
def load_images(kubeconfig) -> Callable[[Sequence[str]], None] | None:
    """What hands images to the cluster's nodes; None where no command does."""
    given, command = os.environ.get(LOAD_IMAGES), os.environ.get(COMMAND)
    words = [given] if given else [command, "load"] if command else []

    def load(images: Sequence[str]) -> None:
        run(*words, *images)

    return load if words else None


@pytest.fixture(scope="session")
def kubectl(kubeconfig) -> Iterator[Kubectl]:
    """An empty namespace that enforces PodSecurity restricted, gone afterwards."""
    made = Kubectl(kubeconfig, NAMESPACE)
    made.apply(namespace(NAMESPACE))
    yield made
    if "DRAGOMAN_TEST_KEEP" not in os.environ:
        made.run("delete", "namespace", NAMESPACE, "--wait=true", timeout_s=300)


@pytest.fixture(scope="session")
def installation(kubectl) -> Installation:
    """Installed by one values file, with a sample model that this installation has trained."""
    made = Installation(kubectl)
    # One that an earlier run was told to keep.
    if not made.is_there():
        made.install(VALUES)
    return made


@pytest.fixture(scope="module")
def two(installation):
    """The installation with two of each service that may be two."""
    installation.upgrade(VALUES, VALUES_TWO)
    installation.until_ready()
    return installation


@pytest.fixture
def load(kubectl, installation):
    """Load(callers=..., every_s=...): a block of calls."""
    return lambda **options: Load(kubectl, **options)
