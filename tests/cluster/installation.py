# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The chart, installed by Helm as an operator would, and what it takes to see that it works."""

import os
import subprocess
import time
from pathlib import Path

from tests.cluster.kubectl import Kubectl, Object, is_ready, until
from tests.deploy import helm

SAMPLE = helm.CHART / "files/sample"
MODEL = "sample"


class HelmError(Exception):
    """A command failed; the text is what it printed."""


class Installation:
    """One release, whose name is that of the chart.

    Args:
        kubectl: Of the namespace that it lives in.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.seconds_to_sample = 0.0
        """From the beginning of `install` to the end of the sample's Job."""

    def helm(self, *arguments: str, timeout_s: float = 900) -> str:
        """Return what a command prints.

        Raises:
            HelmError: it failed.
        """
        command = [
            str(helm.binary()),
            f"--kubeconfig={self.kubectl.kubeconfig}",
            f"--namespace={self.kubectl.namespace}",
            *arguments,
        ]
        environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode:
            raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def is_there(self) -> bool:
        """Whether the release is installed."""
        return helm.RELEASE in self.helm("list", "--short").split()

    def install(self, *values: Path, pairs: tuple[str, ...] = (), limit_s: float = 600) -> None:
        """Install, and wait until the sample's Job has trained a model and had 20 texts answered right by it."""
        began_s = time.monotonic()
        self.begin(*values, pairs=pairs)
        self.until_sample_is_answered(limit_s=limit_s)
        self.seconds_to_sample = time.monotonic() - began_s

    def begin(self, *values: Path, pairs: tuple[str, ...] = ()) -> None:
        """Install, and wait for the hook's Job alone."""
        self.helm("install", helm.RELEASE, str(helm.CHART), *_given(values, pairs))

    def upgrade(self, *values: Path, pairs: tuple[str, ...] = (), wait: bool = True) -> None:
        """Upgrade; by default until every pod is the new one and ready."""
        waiting = ["--wait", "--timeout=10m"] if wait else []
        self.helm("upgrade", helm.RELEASE, str(helm.CHART), *waiting, *_given(values, pairs))

    def rollback(self) -> None:
        self.helm("rollback", helm.RELEASE, "--wait", "--timeout=10m")

    def uninstall(self) -> None:
        self.helm("uninstall", helm.RELEASE, "--wait", "--timeout=5m")

    def until_ready(self, *, limit_s: float = 300) -> None:
        """Wait until every pod that is meant to stay is ready."""

        def all_ready() -> bool:
            pods = [pod for pod in self.kubectl.pods() if not _is_of_a_job(pod)]
            return bool(pods) and all(is_ready(pod) for pod in pods) and not self._missing()

        until(all_ready, "every pod ready", limit_s=limit_s)

    def _missing(self) -> bool:
        """Whether a controller has yet to make a pod, or to take one away."""
        found = self.kubectl.get("deployments,statefulsets")["items"]
        return any(
            one["status"].get("readyReplicas", 0) != one["spec"]["replicas"]
            or one["status"].get("updatedReplicas", one["spec"]["replicas"]) != one["spec"]["replicas"]
            for one in found
        )

    def until_sample_is_answered(self, *, limit_s: float) -> None:
        """Wait until the sample's Job has ended.

        Raises:
            AssertionError: the Job failed.
            TimeoutError: it has not ended in time.
        """

        def ended() -> Object | None:
            (job,) = self.kubectl.get("jobs", "--selector=app.kubernetes.io/component=sample")["items"]
            conditions = {one["type"]: one for one in job["status"].get("conditions", ()) if one["status"] == "True"}
            assert "Failed" not in conditions, self.sample_log()
            return conditions.get("Complete")

        until(ended, "the sample's Job", limit_s=limit_s)

    def sample_log(self) -> str:
        return self.kubectl.run("logs", "--selector=app.kubernetes.io/component=sample", "--tail=-1")

    def dragoman(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """What the dragoman command prints, run by the operator in the client's pod."""
        return self.kubectl.run(
            "exec",
            "--stdin",
            "deployment/dragoman-client",
            "--",
            "dragoman",
            *arguments,
            stdin=stdin,
            timeout_s=timeout_s,
        )


def known_rows() -> list[tuple[str, str]]:
    """The sample's 20 texts and what they are."""
    texts, labels = (SAMPLE.joinpath(name).read_text().splitlines() for name in ("texts.txt", "labels.txt"))
    return list(zip(texts, labels, strict=True))


def _given(values: tuple[Path, ...], pairs: tuple[str, ...]) -> list[str]:
    return [*(f"--values={file}" for file in values), *(f"--set={pair}" for pair in pairs)]


def _is_of_a_job(pod: Object) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", ()))
