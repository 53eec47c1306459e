# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Finding the recipe that a user names: a file, or one of those that come with the repository."""

from dataclasses import dataclass
from pathlib import Path

from dragoman_client.text_check import decoded_line
from dragoman_common.errors import InvalidArgumentError, NotFoundError

# Editable members lie beside each other in a clone: libs/client/src/dragoman_client/cli -> the root.
_SHIPPED = Path(__file__).parents[5] / "services" / "trainer" / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe's YAML, and the file that it is from."""

    text: str
    file: Path

    def named(self, complaint: str) -> str:
        """A complaint about the recipe, with the file in place of the word that stands for it on the wire."""
        if complaint.startswith(("model ", "request_id ", "overrides")):
            return complaint
        rest = complaint.removeprefix("recipe")
        return (
            f"{self.file}{rest}" if rest != complaint and rest[:1] in (":", ",", " ") else f"{self.file}: {complaint}"
        )


def read_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: a path, or the name of a shipped recipe, such as bilstm.

    Raises:
        NotFoundError: neither; the message lists the shipped ones.
        InvalidArgumentError: a folder, or a file that is not UTF-8.
    """
    path = Path(name)
    shipped = {recipe.stem: recipe for recipe in sorted(_SHIPPED.glob("*.yaml"))}
    if not path.is_file():
        if name in shipped:
            path = shipped[name]
        elif path.exists():
            raise InvalidArgumentError(f"recipe {name!r} is a folder, must be a YAML file")
        else:
            known = ", ".join(shipped) or "none with this installation"
            raise NotFoundError(f"recipe {name!r} is no file and no shipped recipe; shipped: {known}")
    lines = path.read_bytes().split(b"\n")
    return Recipe("\n".join(decoded_line(line, str(path), number) for number, line in enumerate(lines, start=1)), path)
