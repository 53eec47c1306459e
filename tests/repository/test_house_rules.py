# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a reader would otherwise have to check by eye."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
    "\0"
)
FILES = [ROOT / name for name in TRACKED if name and (ROOT / name).is_file()]
SOURCES = [path for path in FILES if path.suffix == ".py"]
SHIPPED = [path for path in SOURCES if "src" in path.relative_to(ROOT).parts]


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_source_file_names_its_licence():
    header = "# SPDX-FileCopyrightText: 2026 The Dragoman Authors\n# SPDX-License-Identifier: Apache-2.0\n"
    assert names(path for path in SOURCES if not path.read_text().startswith(header)) == []


def test_no_source_file_is_longer_than_500_lines():
    assert names(path for path in SOURCES if len(path.read_text().splitlines()) > 500) == []


def test_every_shipped_module_says_what_it_owns():
    silent = [
        path
        for path in SHIPPED
        if path.read_text().count("\n") > 2 and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert names(silent) == []


def test_no_file_names_an_index_or_a_place_of_one_machine():
    # Put together from pieces, so that this file does not hold what it looks for.
    places = ["/ro" + "ot/", "/wo" + "rk/"]
    hosts = ["py" + "pi" + r"\.(org|python)", "files\\.python" + "hosted"]
    pattern = re.compile("|".join(places + hosts))
    found = [path for path in FILES if path.suffix != ".png" and pattern.search(path.read_text(errors="replace"))]
    assert names(found) == []


def test_lock_has_a_hash_for_every_requirement():
    lock = (ROOT / "requirements.lock").read_text()
    requirements = [entry for entry in re.split(r"\n(?=\S)", lock.strip()) if not entry.startswith("#")]
    assert [entry.split()[0] for entry in requirements if "--hash=sha256:" not in entry] == []
    assert "://" not in lock


def test_every_method_of_a_port_states_its_contract():
    silent = []
    for path in SHIPPED:
        for node in ast.walk(ast.parse(path.read_text())):
            is_port = isinstance(node, ast.ClassDef) and node.name[0] != "_"
            if is_port and any(getattr(base, "id", "") == "Protocol" for base in node.bases):
                silent += [
                    f"{path.relative_to(ROOT)}: {node.name}.{item.name}"
                    for item in node.body
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not item.name.startswith("_")
                    and not ast.get_docstring(item)
                ]
    assert silent == []


def test_every_public_function_and_class_of_a_library_is_documented_or_obvious():
    # Obvious: at most eight lines, or a converter whose name says from what to what.
    converters = ("_document", "_documents", "_from_pb", "_to_pb")
    silent = []
    for path in [path for path in SHIPPED if "/libs/" in str(path) and "contracts.py" not in path.name]:
        for node in ast.parse(path.read_text()).body:
            is_public = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_"
            if is_public and not ast.get_docstring(node) and node.end_lineno - node.lineno >= 8:
                if node.name.endswith(converters):
                    continue
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert silent == []
