# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The client's pod and the sample's Job beside a release that has neither, because it is no evaluation.

They are the chart's own, rendered with the release's values; who would run them for real has the keys on a laptop.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.installation import Installation
from tests.cluster.kubectl import Object
from tests.deploy import helm

COMPONENTS = ("client", "sample")


@contextmanager
def client(installation: Installation, values: Path, *, sample: bool) -> Iterator[None]:
    """The pod for the time of the block.

    Args:
        installation: Whose keys they hold.
        values: Its values.
        sample: Whether the Job runs, too.
    """
    rendered = installation.helm(
        "template",
        helm.RELEASE,
        str(helm.CHART),
        f"--kube-version={helm.KUBE_VERSION}",
        "--show-only=templates/client.yaml",
        f"--values={values}",
        "--set=evaluation.enabled=true",
        f"--set=evaluation.sample={str(sample).lower()}",
    )
    objects = [one for one in yaml.safe_load_all(rendered) if one]
    installation.kubectl.apply(*objects, *_open_ways())
    try:
        yield
    finally:
        for one in (*objects, *_open_ways()):
            name = f"{one['kind']}/{one['metadata']['name']}"
            installation.kubectl.run("delete", name, "--ignore-not-found", "--wait=true", timeout_s=120)


def _open_ways() -> list[Object]:
    """What a release without these pods does not let through, where NetworkPolicies are enforced."""
    ours = {"app.kubernetes.io/instance": helm.RELEASE}
    clients = {"matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": [*COMPONENTS]}]}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "bystander-from"},
            "spec": {"podSelector": {"matchLabels": ours}, "ingress": [{"from": [{"podSelector": clients}]}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "bystander-to"},
            "spec": {
                "podSelector": clients,
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": ours}}]}],
            },
        },
    ]
