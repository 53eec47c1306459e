# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A folder as the Hugging Face libraries save a model: what of it is read, and what makes it refused.

Owns which files count. Nothing in the folder is imported, unpickled or rendered; what is not read is left out and
named. It does not know what the files mean (huggingface_package.py).

    folder -> every entry a plain file -> code, templates, adapters, pickled weights refused -> HuggingFaceFolder
"""

import stat
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.package import MODEL_FILE, TOKENIZER_FILE
from dragoman_models.transformer_import import CONFIG_FILE, MAX_CONFIG_BYTES, refuse_code
from dragoman_text.strict_json import parse_object

SINGLE_WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
README = "README.md"

_CODE_SUFFIXES = (".py", ".pyc", ".so")
_TEMPLATE_SUFFIXES = (".jinja", ".jinja2")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# The files in which the libraries look for the names of classes to load.
_CONFIGURATIONS = (
    CONFIG_FILE,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model_index.json",
)
_CONVERT = (
    "on a machine where you trust it, run `AutoModelForSequenceClassification.from_pretrained(FOLDER)"
    ".save_pretrained(NEW)` and the same with AutoTokenizer, and publish NEW"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceFolder:
    """A folder that has what a package needs, and nothing that is refused.

    Attributes:
        root: The folder.
        names: Its files, by their paths in it.
    """

    root: Path
    names: tuple[str, ...]

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return a file's content.

        Raises:
            InvalidArgumentError: it is larger than max_bytes.
        """
        path = self.root / name
        size_bytes = path.stat().st_size
        if size_bytes > max_bytes:
            raise InvalidArgumentError(f"{name} has {size_bytes:,} bytes; the limit is {max_bytes:,}")
        return path.read_bytes()


def is_huggingface(folder: Path) -> bool:
    """Tell whether a folder is meant as a Hugging Face model and not as a package."""
    return (folder / CONFIG_FILE).exists() and not (folder / MODEL_FILE).exists()


def open_folder(root: Path) -> HuggingFaceFolder:
    """Look at every entry of the folder.

    Raises:
        InvalidArgumentError: a link or special file; code, a template or an adapter; weights that are pickled only, or
            there twice, or not at all; no tokenizer.json; a configuration that asks for code.
    """
    names = tuple(sorted(_names(root)))
    for name in names:
        if name.endswith(_CODE_SUFFIXES):
            raise InvalidArgumentError(f"{name}: the folder has code of its own, which is never run; take it out")
        if name.endswith(_TEMPLATE_SUFFIXES) or Path(name).name == "chat_template.json":
            raise InvalidArgumentError(f"{name}: chat templates are programs, and a classifier needs none; take it out")
    if "adapter_config.json" in names:
        raise InvalidArgumentError("adapter_config.json: merge the adapter into its model first (merge_and_unload)")
    _check_weights(names)
    if TOKENIZER_FILE not in names:
        raise InvalidArgumentError(
            f"{TOKENIZER_FILE} is missing: only fast tokenizers can be read; "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(NEW)` writes one"
        )
    folder = HuggingFaceFolder(root=root, names=names)
    for name in _CONFIGURATIONS:
        if name in names:
            data = folder.read(name, max_bytes=MAX_CONFIG_BYTES)
            value = parse_object(data, what=name, max_bytes=MAX_CONFIG_BYTES)
            refuse_code(value, what=name)
            if value.get("chat_template") is not None:
                raise InvalidArgumentError(
                    f"{name}: chat_template is a program, and a classifier needs none; take it out"
                )
    return folder


def _names(root: Path) -> list[str]:
    names = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise InvalidArgumentError(f"{name} is a link; copy the folder with `cp -rL` and publish the copy")
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InvalidArgumentError(f"{name} is no plain file")
        if stat.S_ISREG(mode):
            names.append(name)
    return names


def _check_weights(names: tuple[str, ...]) -> None:
    found = [name for name in (SINGLE_WEIGHTS, WEIGHTS_INDEX) if name in names]
    if len(found) == 2:
        raise InvalidArgumentError(f"{found[0]} and {found[1]}: two sets of weights; take one out")
    if found:
        return
    pickled = [name for name in names if name.endswith(_PICKLE_SUFFIXES)]
    if pickled:
        raise InvalidArgumentError(
            f"{pickled[0]}: pickled weights can run any program when they are read, and are not read here; {_CONVERT}"
        )
    raise InvalidArgumentError(f"{SINGLE_WEIGHTS} is missing; {_CONVERT}")
