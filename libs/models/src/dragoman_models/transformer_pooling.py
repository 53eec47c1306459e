# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How a sentence encoder makes one vector of its tokens' states, as the sentence-transformers library writes it down.

Owns the strict reading of those files; the classes that they name are matched against a list and never imported.

    modules.json: Transformer, Pooling, perhaps Normalize -> N_Pooling/config.json: mean or first token -> Pooling
    sentence_bert_config.json -> where the encoder cuts texts
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_text.strict_json import parse_object, require_keys

MODULES_FILE = "modules.json"
POOLING_FILE = "config.json"
SENTENCE_FILE = "sentence_bert_config.json"
PROMPTS_FILE = "config_sentence_transformers.json"
MAX_BYTES = 1 << 16

_MODULES = (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))
_POOLINGS: Mapping[str, str] = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean"}
_OTHER_POOLINGS = (
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
)
_POOLING_NAMES: Mapping[str, str] = {"cls": "first", "mean": "mean"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Modules:
    """What modules.json says: the folder of the pooling's configuration, and whether vectors are scaled to length 1."""

    pooling_folder: str
    normalises: bool


def parse_modules(data: bytes) -> Modules:
    """Read modules.json as untrusted input.

    Raises:
        InvalidArgumentError: other modules than are computed here, or classes from elsewhere.
    """
    # The file is a list; the strict reader takes objects.
    wrapped = parse_object(b'{"modules": ' + data + b"}", what=MODULES_FILE, max_bytes=MAX_BYTES)
    require_keys(wrapped, ("modules",), what=MODULES_FILE)
    value: JsonValue = wrapped["modules"]
    if not isinstance(value, list) or len(value) > 8:
        raise InvalidArgumentError(f"{MODULES_FILE}: must list the modules")
    names, folders = [], []
    for item in value:
        fields = Fields(item, what=MODULES_FILE, required=("idx", "name", "path", "type"), optional=("kwargs",))
        kind = fields.text("type")
        if not kind.startswith("sentence_transformers."):
            raise InvalidArgumentError(
                f"{MODULES_FILE}: {kind[:80]!r} asks for code from elsewhere, which is never run"
            )
        names.append(kind.rpartition(".")[2])
        folders.append(fields.raw("path"))
    if tuple(names) not in _MODULES or folders[0] != "":
        raise InvalidArgumentError(
            f"{MODULES_FILE}: the modules are {', '.join(names)[:120]}; only Transformer, Pooling and Normalize, in "
            "this order, are computed here"
        )
    folder = folders[1]
    if not isinstance(folder, str) or not folder.replace("_", "").isalnum() or not folder.isascii():
        raise InvalidArgumentError(f"{MODULES_FILE}: {str(folder)[:40]!r} is no name of a folder")
    return Modules(pooling_folder=folder, normalises=len(names) == 3)


def parse_pooling(data: bytes, *, what: str) -> str:
    """Read the pooling's configuration; return ``first`` or ``mean``.

    Args:
        data: The file.
        what: Its name in messages.

    Raises:
        InvalidArgumentError: another pooling, several, or a key that is not known.
    """
    value: dict[str, JsonValue] = parse_object(data, what=what, max_bytes=MAX_BYTES)
    optional = {
        "word_embedding_dimension",
        "embedding_dimension",
        "include_prompt",
        "pooling_mode",
        *_POOLINGS,
        *_OTHER_POOLINGS,
    }
    fields = Fields(value, what=what, required=(), optional=optional)
    found = [kind for key, kind in _POOLINGS.items() if key in fields and fields.flag(key)]
    others = [key for key in _OTHER_POOLINGS if key in fields and fields.flag(key)]
    if "pooling_mode" in fields:
        named = fields.raw("pooling_mode")
        kind = _POOLING_NAMES.get(named) if isinstance(named, str) else None
        found, others = [*found, *([kind] if kind else [])], [*others, *([] if kind else [str(named)])]
    if len(set(found)) != 1 or others:
        raise InvalidArgumentError(f"{what}: exactly one of the mean of all tokens and the first token can be computed")
    return found[0]


def parse_sentence_limit(data: bytes) -> int | None:
    """Read sentence_bert_config.json; return where texts are cut, special tokens included, None where it does not say.

    Raises:
        InvalidArgumentError: a text is changed before the tokenizer sees it, or a key is not known.
    """
    fields = Fields(
        parse_object(data, what=SENTENCE_FILE, max_bytes=MAX_BYTES),
        what=SENTENCE_FILE,
        required=(),
        optional=("max_seq_length", "do_lower_case"),
    )
    if "do_lower_case" in fields and fields.flag("do_lower_case"):
        raise InvalidArgumentError(f"{SENTENCE_FILE}: do_lower_case must be false; lower-casing is the tokenizer's")
    if "max_seq_length" not in fields or fields.raw("max_seq_length") is None:
        return None
    return fields.integer("max_seq_length", low=1, high=1 << 20)


def check_prompts(data: bytes) -> None:
    """Refuse a config_sentence_transformers.json whose library would put words before every text.

    Raises:
        InvalidArgumentError: a default prompt is named.
    """
    value = parse_object(data, what=PROMPTS_FILE, max_bytes=MAX_BYTES)
    if value.get("default_prompt_name") is not None:
        raise InvalidArgumentError(f"{PROMPTS_FILE}: default_prompt_name puts words before each text; take it out")
