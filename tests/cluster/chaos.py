# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What tests do to pods, and when."""

import random
import time
from dataclasses import dataclass

from tests.cluster.installation import Installation
from tests.cluster.kubectl import Kubectl, KubectlError, Object, component, is_ready, until

SPARED = frozenset({"client", "sample", "init", "test", "minio", "kafka", "postgres"})
"""No services of Dragoman's: parts of the evaluation have one copy, and the calls come from the client's pod."""


KILL_S = 3.0
"""Within which a node has ended a pod that was deleted without grace: SIGTERM, and SIGKILL 2 s later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a pod of a component was killed (Unix time): between these two it may still have taken a call."""

    component: str
    began_s: float
    ended_s: float


def victims(kubectl: Kubectl) -> list[Object]:
    """The pods of Dragoman's services."""
    return [
        pod
        for pod in kubectl.pods("app.kubernetes.io/name=dragoman")
        if component(pod).split("-")[0] not in SPARED and is_ready(pod)
    ]


def kill(kubectl: Kubectl, pod: Object) -> Moment:
    """End a pod without grace; returns when."""
    began_s = time.time()
    kubectl.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    return Moment(component=component(pod), began_s=began_s, ended_s=time.time() + KILL_S)


def until_replaced(kubectl: Kubectl, pod: Object, *, limit_s: float = 120) -> None:
    """Wait until its component has as many ready pods as its controller wants, and this one is none of them."""
    selector = ",".join(
        f"{key}={pod['metadata']['labels'][key]}"
        for key in ("app.kubernetes.io/instance", "app.kubernetes.io/component")
    )
    controllers = "deployments,statefulsets"

    def replaced() -> bool:
        (controller,) = kubectl.get(controllers, f"--selector={selector}")["items"]
        ready = [one for one in kubectl.pods(selector) if is_ready(one)]
        is_gone = all(one["metadata"]["uid"] != pod["metadata"]["uid"] for one in ready)
        return is_gone and len(ready) == controller["spec"]["replicas"]

    until(replaced, f"{component(pod)} replaced", limit_s=limit_s)


def evict(kubectl: Kubectl, pod: Object, *, limit_s: float = 120) -> None:
    """Evict as a drain does: again and again while a budget refuses."""

    def evicted() -> bool:
        try:
            kubectl.evict(pod["metadata"]["name"])
        except KubectlError as error:
            if "NotFound" in str(error):
                return True
            raise
        return True

    until(evicted, f"eviction of {pod['metadata']['name']}", limit_s=limit_s, every_s=1)


def kill_at_random(installation: Installation, *, num_kills: int, rng: random.Random) -> list[Moment]:
    """Kill pods one after the other, each when the one before is replaced."""
    moments = []
    for _ in range(num_kills):
        pod = rng.choice(victims(installation.kubectl))
        moments.append(kill(installation.kubectl, pod))
        until_replaced(installation.kubectl, pod)
    return moments
