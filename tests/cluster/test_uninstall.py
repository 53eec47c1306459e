# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Last of all: what was installed goes, and what must outlive it stays."""

import pytest

from tests.cluster.kubectl import until
from tests.faults.figures import note

pytestmark = pytest.mark.slow

KINDS = (
    "pods,services,deployments,statefulsets,jobs,configmaps,secrets,serviceaccounts,roles,rolebindings,"
    "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)


def test_uninstalling_leaves_nothing_but_keys_credentials_and_jobs_that_were_trained(kubectl, installation):
    installation.uninstall()
    until(lambda: not kubectl.get("pods", "--selector=app.kubernetes.io/name=dragoman")["items"], "no pod", limit_s=180)
    left = kubectl.get(KINDS, "--selector=app.kubernetes.io/instance=dragoman")["items"]
    strange = [f"{one['kind']} {one['metadata']['name']}" for one in left if component_of(one) != "identity"]
    note(f"after uninstall: {len(left)} objects are left, {len(strange)} of them not keys or credentials")
    assert strange == []


def component_of(one) -> str:
    return one["metadata"]["labels"].get("app.kubernetes.io/component", "")
