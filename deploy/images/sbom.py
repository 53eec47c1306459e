# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script, in no package
"""The bill of materials of an image, in CycloneDX 1.5: what is installed here, and the base's Debian packages.

    python sbom.py NAME FILE

Run inside the image's build, on the finished environment: it says what is there, not what was asked for. The same
content gives the same bytes. Which files may be installed is pinned by hash in deploy/images/locks.
"""

import json
import re
import sys
from importlib.metadata import distributions, version
from pathlib import Path

_DPKG = Path("/var/lib/dpkg/status")


def components() -> list[dict[str, str]]:
    """Every Python distribution and Debian package, sorted."""
    found = set()
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        found.add((name, distribution.version, f"pkg:pypi/{name}@{distribution.version}"))
    for paragraph in _DPKG.read_text().split("\n\n") if _DPKG.is_file() else ():
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][A-Za-z-]*: ", line))
        if fields.get("Status", "").endswith(" installed"):
            name, number = fields["Package"], fields["Version"]
            found.add((name, number, f"pkg:deb/debian/{name}@{number}?arch={fields['Architecture']}"))
    return [
        {"type": "library", "bom-ref": url, "name": name, "version": number, "purl": url}
        for name, number, url in sorted(found)
    ]


def main(name: str, file: str) -> None:
    """Write the document."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version(name)}},
        "components": components(),
    }
    Path(file).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
