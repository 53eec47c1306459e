# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A company's namespaces, and a release of external.yaml in one of them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.cluster.installation import MODEL, Installation, known_rows
from tests.cluster.kubectl import Kubectl, is_ready, until
from tests.cluster.outside import Outside
from tests.cluster.places import namespace
from tests.cluster.volumes import volumes
from tests.deploy import helm
from tests.faults.figures import note

NAMESPACE, PARTS, TRAINING = "dragoman-test-external", "dragoman-test-parts", "dragoman-test-training"
VALUES = Path(__file__).with_name("external.yaml")
VALUES_KEDA = Path(__file__).with_name("external_keda.yaml")
RELEASE = "--selector=app.kubernetes.io/instance=dragoman"


def claims() -> list[str]:
    """What the release claims for what must outlive a pod: the names, as its StatefulSets give them."""
    return [
        f"{claim['metadata']['name']}-{one['metadata']['name']}-{number}"
        for one in helm.objects(VALUES)
        if one["kind"] == "StatefulSet"
        for claim in one["spec"].get("volumeClaimTemplates", ())
        for number in range(one["spec"]["replicas"])
    ]


@contextmanager
def company(kubeconfig: Path) -> Iterator[Kubectl]:
    """What there is before anything is installed: three namespaces, parts that run, Secrets that name them."""
    ours, parts, training = (Kubectl(kubeconfig, name) for name in (NAMESPACE, PARTS, TRAINING))
    outside = Outside(namespace=PARTS)
    with ExitStack() as stack:
        for one in (ours, parts, training):
            one.apply(namespace(one.namespace))
            stack.callback(one.run, "delete", "namespace", one.namespace, "--wait=true", timeout_s=300)
        parts.apply(*outside.parts())
        ours.apply(*outside.credentials(), *outside.certificates(NAMESPACE))
        training.apply(outside.trust())
        until(lambda: len([*filter(is_ready, parts.pods())]) == 3, "the parts", limit_s=180)
        yield ours


@contextmanager
def installed(kubectl: Kubectl) -> Iterator[Installation]:
    """The release, every pod ready, with claims that the cluster can meet."""
    made = Installation(kubectl)
    with volumes(kubectl, claims()):
        try:
            began_s = time.monotonic()
            made.begin(VALUES)
            made.until_ready()
            note(f"external parts, claims, given certificates: every pod ready in {time.monotonic() - began_s:.0f} s")
            yield made
        finally:
            if made.is_there():
                made.uninstall()
            kubectl.run("delete", "persistentvolumeclaims", "--all", "--wait=true", timeout_s=120)


def answers(installation: Installation) -> list[str]:
    """The labels that the sample's 20 texts get, by a user's call."""
    texts = "".join(f"{text}\n" for text, _ in known_rows())
    return [line.split("\t")[0] for line in installation.dragoman("predict", MODEL, stdin=texts).splitlines()]
