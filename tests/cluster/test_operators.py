# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The commands that docs/operators gives, in their order, in an empty namespace."""

import os
import subprocess

import pytest

from tests.cluster.installation import Installation
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.deploy import helm, operator_commands
from tests.faults.figures import note

pytestmark = pytest.mark.slow

NAMESPACE = "dragoman-operators"


def test_every_command_of_the_operators_pages_works(kubeconfig):
    environ = {
        "PATH": f"{helm.binary().parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "KUBECONFIG": str(kubeconfig),
        "NS": NAMESPACE,
        "RELEASE": helm.RELEASE,
        "HELM_FLAGS": "",
    }
    blocks = operator_commands.marked("run: cluster")
    assert blocks
    kubectl = Kubectl(kubeconfig, NAMESPACE)
    try:
        done = subprocess.run(
            ["bash", "-c", operator_commands.script("run: cluster")],
            cwd=helm.ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    finally:
        try:
            if Installation(kubectl).is_there():
                Installation(kubectl).uninstall()
            kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=300)
        except KubectlError as error:
            note(f"{NAMESPACE} is left: {error}")
    note(f"{len(blocks)} blocks of commands of docs/operators")
