# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl, as an operator has it: a kubeconfig, a namespace, commands and their output."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")


class KubectlError(Exception):
    """A command failed; the text is what it printed."""


class Kubectl:
    """One namespace of one cluster.

    Args:
        kubeconfig: A file.
        namespace: Of every command that names none.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace

    def command(self, *arguments: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Return what a command prints.

        Raises:
            KubectlError: it failed.
        """
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)[:200]}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def get(self, *arguments: str) -> Object:
        """Return an object, or a list of them."""
        found: Object = json.loads(self.run("get", *arguments, "--output=json"))
        return found

    def apply(self, *objects: Object) -> None:
        self.run(
            "apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        )

    def pods(self, selector: str = "") -> list[Object]:
        """The pods that are not on their way out."""
        found = self.get("pods", *([f"--selector={selector}"] if selector else []))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def evict(self, pod: str) -> None:
        """Ask for an eviction, which a PodDisruptionBudget may refuse.

        Raises:
            KubectlError: refused for now, or no such pod.
        """
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[str]:
        """host:port on loopback that leads to a pod's or Service's port, for the time of the block."""
        command = self.command("port-forward", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if "Forwarding from" not in line:
                    raise KubectlError(f"port-forward {target}: {line}")
                yield line.split()[2]
            finally:
                process.terminate()


def until(found: Callable[[], T], what: str, *, limit_s: float, every_s: float = 0.5) -> T:
    """Return the first true value; what kubectl refuses meanwhile is not there yet.

    Raises:
        TimeoutError: there was none in time.
    """
    ends_s = time.monotonic() + limit_s
    last: object = None
    while time.monotonic() < ends_s:
        try:
            if value := found():
                return value
            last = value
        except KubectlError as error:
            last = error
        time.sleep(every_s)
    raise TimeoutError(f"{what}: not within {limit_s:.0f} s; last: {last}")


def is_ready(pod: Object) -> bool:
    conditions: Sequence[Object] = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def component(pod: Object) -> str:
    """Which part of Dragoman a pod is: gateway, worker-cpu, ..."""
    return str(pod["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))
