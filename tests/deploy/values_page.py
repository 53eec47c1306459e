# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""docs/operators/values.md: every value of the chart, from values.schema.json, with what values.yaml says of it.

python -m tests.deploy.values_page      writes the page; a test says when it is stale
"""

import json
import re
from collections.abc import Iterator

import yaml

from tests.deploy import helm

PAGE = helm.ROOT / "docs/operators/values.md"
HEAD = """# Values

Every value of `deploy/helm/dragoman`; a name that is none of them is refused. Written by
`python -m tests.deploy.values_page` from `values.schema.json` and the comments of `values.yaml`.

| value | default | takes | |
|---|---|---|---|
"""
# Of these, the inner names are free, or Kubernetes' own.
_WHOLE = (
    "resources",
    "settings",
    "digests",
    "labels",
    "dashboardLabels",
    "nodeSelector",
    "tolerations",
    "pullSecrets",
    "selector",
)


def comments() -> dict[str, str]:
    """Path of a value -> what stands beside it in values.yaml, and above it."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in (helm.CHART / "values.yaml").read_text().splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip().startswith("#"):
            above.append(line.strip("# "))
            continue
        named = re.match(r"\s*(?:- )?([A-Za-z]+):(.*)", line)
        if not named:
            above = []
            continue
        if line.strip().startswith("- "):
            indent += 2
        path = [entry for entry in path if entry[0] < indent]
        path.append((indent, named[1]))
        beside = re.search(r"(?:^|\s)# (.*)", named[2])
        found[".".join(name for _, name in path)] = " ".join([*above, *([beside[1]] if beside else [])])
        above = []
    return found


def takes(schema: dict) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {"name": "a name", "storageClass": "a name, or -", "peers": "NetworkPolicy peers"}.get(name, name)
    if "enum" in schema:
        return ", ".join(f"`{value}`" if value else '""' for value in schema["enum"])
    kind = schema.get("type", "")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if "minimum" in schema:
        return f"{kind}, {schema['minimum']} to {schema['maximum']}"
    return kind


def rows(values: object, schema: dict, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(path, default, what it takes), in the schema's order."""
    for name, below in schema.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        value = values.get(name) if isinstance(values, dict) else None
        if name == "global":
            continue
        if name == "pools":
            yield at, "one, `cpu`", "a list"
            yield from rows(value[0], below["items"], "pools")
        elif below.get("properties") and name not in _WHOLE:
            yield from rows(value, below, at)
        else:
            yield at, f"`{json.dumps(value)}`", takes(below)


def page() -> str:
    """The page's text."""
    values = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    said = comments()

    def cells(path: str, default: str, kind: str) -> str:
        parent = path.rpartition(".")[0]
        first = path not in said and parent in said
        text = said.get(path, said[parent] if first else "")
        return f"| `{path}` | {default} | {kind} | {text} |".replace("||", "| |")

    lines = [cells(*(text.replace("|", "\\|") for text in row)) for row in rows(values, schema)]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
