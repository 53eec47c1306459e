# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Finding the recipe that a user names: a file, or one of those that come with the repository."""

from pathlib import Path

from dragoman_common.errors import NotFoundError

# Editable members lie beside each other in a clone: libs/client/src/dragoman_client/cli -> the root.
_SHIPPED = Path(__file__).parents[5] / "services" / "trainer" / "recipes"


def read_recipe(name: str) -> str:
    """The recipe's YAML.

    Args:
        name: a path, or the name of a shipped recipe, such as bilstm.

    Raises:
        NotFoundError: neither; the message lists the shipped ones.
    """
    path = Path(name)
    if path.is_file():
        return path.read_text(encoding="utf-8")
    shipped = {recipe.stem: recipe for recipe in sorted(_SHIPPED.glob("*.yaml"))}
    if name in shipped:
        return shipped[name].read_text(encoding="utf-8")
    known = ", ".join(shipped) or "none with this installation"
    raise NotFoundError(f"recipe {name!r} is no file and no shipped recipe; shipped: {known}")
