# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The operators' pages: each command is run by somebody, or the page says why not; the table of values is current."""

import re
import subprocess

import pytest
import yaml

from tests.deploy import helm, operator_commands, values_page
from tests.parts.missing import required

PAGES = sorted(operator_commands.FOLDER.glob("*.md"))


def test_the_table_of_values_is_current():
    # Else: `python -m tests.deploy.values_page`.
    assert values_page.PAGE.read_text() == values_page.page()


def test_every_block_of_commands_says_who_runs_it():
    assert [block for block in operator_commands.blocks() if not block.mark] == []
    kinds = {block.mark.partition(":")[0] + block.mark.partition(":")[2][:9] for block in operator_commands.blocks()}
    assert {"run cluster", "run here"} <= kinds
    assert {path.name for path in PAGES} == set(operator_commands.PAGES)


@pytest.mark.parametrize("block", operator_commands.marked("run: here"), ids=lambda block: block.page)
def test_commands_that_run_here_do(block):
    required("helm", helm.binary)
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, cwd=helm.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cluster_s_script_is_one_that_bash_takes():
    text = operator_commands.script("run: cluster")
    assert subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False).stderr == ""
    assert len(operator_commands.marked("run: cluster")) >= 6


def test_every_value_and_file_that_the_pages_name_is_there():
    names = set(re.findall(r"^\| `([\w.]+)` \|", values_page.PAGE.read_text(), re.MULTILINE))
    values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    for path in PAGES:
        text = path.read_text()
        for file in re.findall(r"(?:deploy|k8s|docs|tests)/[\w./-]+\.\w+", text):
            assert (helm.ROOT / file).exists(), (path.name, file)
        for name in re.findall(rf"`((?:{'|'.join(values)})(?:\.[a-z]\w*)+)`", text):
            known = any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in names)
            assert known or name.endswith((".crt", ".key", ".yaml")), (path.name, name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
