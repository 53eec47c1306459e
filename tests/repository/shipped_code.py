# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a wheel of ours may not hold: code that runs what it reads."""

import ast
from collections.abc import Iterator

_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_CALLS = {
    ("torch", "load"),
    ("torch", "save"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
}
_KEYWORDS = {"allow_pickle", "trust_remote_code", "shell"}


def violations(source: str) -> Iterator[str]:
    """Each forbidden import, call or argument of a module, as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        for name in _imported(node):
            if name.partition(".")[0] in _MODULES or tuple(name.rsplit(".", 1)) in _CALLS:
                yield f"{node.lineno}: import of {name}"
        if isinstance(node, ast.Call):
            yield from _in_call(node)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        # After `from torch import load` the call's own name says nothing, so the import is what is judged.
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _in_call(node: ast.Call) -> Iterator[str]:
    function = node.func
    if isinstance(function, ast.Name) and function.id in _BUILTINS:
        yield f"{node.lineno}: call of {function.id}"
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        called = (function.value.id, function.attr)
        if called in _CALLS:
            yield f"{node.lineno}: call of {'.'.join(called)}"
    for keyword in node.keywords:
        is_off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in _KEYWORDS and not is_off:
            yield f"{node.lineno}: argument {keyword.arg}"
