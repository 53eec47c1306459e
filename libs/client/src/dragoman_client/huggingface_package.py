# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From the folder of a Hugging Face text classifier or sentence encoder to a model package.

Owns what the package's files are made of. It runs no model and needs no torch; that the result scores as the original
does is a matter of dragoman_models.transformer and is tested there and here.

    folder -> config.json -> hyperparameters, labels   -> model.json
           -> modules.json, an encoder's pooling       -> model.json
           -> safetensors -> our names, float32        -> weights.safetensors
           -> tokenizer.json, byte for byte, checked   -> tokenizer.json
           -> front matter of README.md, as text       -> card.md
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dragoman_client.huggingface_folder import README, TOKENIZER_CONFIG, HuggingFaceFolder, open_folder
from dragoman_client.huggingface_weights import FolderWeights
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import JsonValue
from dragoman_models.package import (
    CARD_FILE,
    CLASSIFICATION,
    EMBEDDING,
    MODEL_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Architecture,
    InputLimits,
    ModelConfig,
    TokenizerFile,
    to_json,
)
from dragoman_models.tensors import write_tensors
from dragoman_models.transformer_import import (
    CONFIG_FILE,
    MAX_CONFIG_BYTES,
    Source,
    convert,
    foreign_specs,
    is_encoder,
    is_unused,
    parse_source,
)
from dragoman_models.transformer_pooling import (
    MAX_BYTES,
    MODULES_FILE,
    POOLING_FILE,
    PROMPTS_FILE,
    SENTENCE_FILE,
    check_prompts,
    parse_modules,
    parse_pooling,
    parse_sentence_limit,
)
from dragoman_text import Tokenizer, load_tokenizer
from dragoman_text.strict_json import parse_object
from dragoman_text.tokenizer import MAX_FILE_BYTES

_BACKEND = "huggingface"
_MAX_README_BYTES = 4 << 20
_MAX_FRONT_MATTER_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedPackage:
    """What became of a folder.

    Attributes:
        files: The package.
        family: The model's family, as config.json says it.
        left_out: Files of the folder that were not read.
    """

    files: Mapping[str, bytes]
    family: str
    left_out: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the package into a folder that is new or empty.

        Raises:
            InvalidArgumentError: the folder holds something already.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidArgumentError(f"{folder} is not empty; the package needs a folder of its own")
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


def convert_folder(root: Path, *, max_tokens: int | None = None) -> ConvertedPackage:
    """Make a package of the folder.

    Args:
        root: The folder.
        max_tokens: Where texts are cut, special tokens included; the most that model and tokenizer take otherwise.

    Raises:
        InvalidArgumentError: the folder is refused; see huggingface_folder, transformer_import and the tokenizer checks
            below.
    """
    folder = open_folder(root)
    config_data = folder.read(CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    sentence = _sentence_encoder(folder, config_data)
    source = parse_source(config_data, pooling=sentence.pooling, normalises=sentence.normalises)
    tokenizer_data = folder.read(TOKENIZER_FILE, max_bytes=MAX_FILE_BYTES)
    settings = _tokenizer_settings(folder)
    tokenizer = load_tokenizer(_BACKEND, tokenizer_data)
    _check_tokenizer(tokenizer, tokenizer_data, settings, source)
    config = ModelConfig(
        task=CLASSIFICATION if source.labels else EMBEDDING,
        architecture=Architecture(name="transformer", hyperparameters=source.hyperparameters.to_mapping()),
        labels=source.labels,
        tokenizer=TokenizerFile(backend=_BACKEND),
        input_limits=InputLimits(max_tokens=_max_tokens(max_tokens, settings, source, sentence)),
    )
    weights = FolderWeights(folder, partial(is_unused, source))
    weights.check(dict(foreign_specs(source).values()))
    used = (CONFIG_FILE, TOKENIZER_FILE, *weights.files)
    files = {
        MODEL_FILE: to_json(config),
        WEIGHTS_FILE: write_tensors(convert(source, weights.read)),
        TOKENIZER_FILE: tokenizer_data,
        CARD_FILE: _card(folder, source, used),
    }
    read = {*used, *sentence.files, TOKENIZER_CONFIG, README}
    left_out = tuple(name for name in folder.names if name not in read)
    return ConvertedPackage(files=files, family=source.family.model_type, left_out=left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sentence:
    """What the files of the sentence-transformers library say; nothing for a classifier."""

    pooling: str = ""
    normalises: bool = False
    max_tokens: int | None = None
    files: tuple[str, ...] = ()


def _sentence_encoder(folder: HuggingFaceFolder, config_data: bytes) -> _Sentence:
    if not is_encoder(config_data) or MODULES_FILE not in folder.names:
        return _Sentence()
    modules = parse_modules(folder.read(MODULES_FILE, max_bytes=MAX_BYTES))
    pooling_file = f"{modules.pooling_folder}/{POOLING_FILE}"
    if pooling_file not in folder.names:
        raise InvalidArgumentError(f"{MODULES_FILE}: {pooling_file} is missing")
    files = [MODULES_FILE, pooling_file]
    limit = None
    if SENTENCE_FILE in folder.names:
        files.append(SENTENCE_FILE)
        limit = parse_sentence_limit(folder.read(SENTENCE_FILE, max_bytes=MAX_BYTES))
    if PROMPTS_FILE in folder.names:
        files.append(PROMPTS_FILE)
        check_prompts(folder.read(PROMPTS_FILE, max_bytes=MAX_BYTES))
    return _Sentence(
        pooling=parse_pooling(folder.read(pooling_file, max_bytes=MAX_BYTES), what=pooling_file),
        normalises=modules.normalises,
        max_tokens=limit,
        files=tuple(files),
    )


def _tokenizer_settings(folder: HuggingFaceFolder) -> Mapping[str, JsonValue]:
    if TOKENIZER_CONFIG not in folder.names:
        return {}
    data = folder.read(TOKENIZER_CONFIG, max_bytes=MAX_CONFIG_BYTES)
    return parse_object(data, what=TOKENIZER_CONFIG, max_bytes=MAX_CONFIG_BYTES)


def _max_tokens(wanted: int | None, settings: Mapping[str, JsonValue], source: Source, sentence: _Sentence) -> int:
    positions = source.hyperparameters.max_positions
    if wanted is not None:
        if not 1 <= wanted <= positions:
            raise InvalidArgumentError(f"max_tokens is {wanted}; the model has {positions} positions")
        return wanted
    limit = settings.get("model_max_length")
    # The library writes 1e30 for "no limit".
    limits = [positions, limit if isinstance(limit, int) and limit > 0 else positions, sentence.max_tokens or positions]
    return min(limits)


def _check_tokenizer(tokenizer: Tokenizer, data: bytes, settings: Mapping[str, JsonValue], source: Source) -> None:
    """Refuse a tokenizer whose ids the model cannot take, or that the library would use differently from its file."""
    size = source.hyperparameters.vocabulary_size
    if tokenizer.vocabulary_size > size:
        raise InvalidArgumentError(
            f"{TOKENIZER_FILE}: has {tokenizer.vocabulary_size} ids; the model's vocabulary has {size}"
        )
    if not tokenizer.encode([""], source.hyperparameters.max_positions)[0].ids.size:
        raise InvalidArgumentError(
            f"{TOKENIZER_FILE}: its post_processor adds no special tokens, and the state of the first one is classified"
        )
    value: dict[str, JsonValue] = parse_object(data, what=TOKENIZER_FILE, max_bytes=MAX_FILE_BYTES)
    if _names_another_type(value["post_processor"]):
        raise InvalidArgumentError(
            f"{TOKENIZER_FILE}: its post_processor gives a single text a token type other than 0"
        )
    if settings.get("truncation_side", "right") != "right":
        raise InvalidArgumentError(f"{TOKENIZER_CONFIG}: truncation_side must be right; here a text keeps its head")
    normalizer = value["normalizer"]
    lowercase = normalizer.get("lowercase") if isinstance(normalizer, dict) else None
    wanted = settings.get("do_lower_case")
    if isinstance(lowercase, bool) and isinstance(wanted, bool) and lowercase != wanted:
        raise InvalidArgumentError(f"{TOKENIZER_CONFIG}: do_lower_case contradicts the normalizer of {TOKENIZER_FILE}")


def _names_another_type(processor: JsonValue) -> bool:
    """Whether the template of a single text, alone or in a sequence of processors, has a type_id that is not 0."""
    if not isinstance(processor, dict):
        return False
    inner = processor.get("processors")
    if isinstance(inner, list):
        return any(_names_another_type(item) for item in inner)
    pieces = processor.get("single")
    if not isinstance(pieces, list):
        return False
    parts = [part for piece in pieces if isinstance(piece, dict) for part in piece.values()]
    return any(isinstance(part, dict) and part.get("type_id", 0) != 0 for part in parts)


def _card(folder: HuggingFaceFolder, source: Source, used: tuple[str, ...]) -> bytes:
    name = source.family.classifier if source.labels else source.family.encoder
    lines = [
        "# Converted from a Hugging Face folder",
        "",
        f"Class `{name}`. Weights renamed and in float32; the tokenizer as it was. SHA-256 of the",
        "files that it was made of:",
        "",
    ]
    for used_file in used:
        with (folder.root / used_file).open("rb") as file:
            lines.append(f"- `{used_file}` {hashlib.file_digest(file, 'sha256').hexdigest()}")
    if front_matter := _front_matter(folder):
        # Indented, so that nothing in it is markup.
        lines += ["", "What its README said of itself:", "", *(f"    {line}" for line in front_matter)]
    return ("\n".join(lines) + "\n").encode()


def _front_matter(folder: HuggingFaceFolder) -> list[str]:
    if README not in folder.names:
        return []
    text = folder.read(README, max_bytes=_MAX_README_BYTES)[:_MAX_FRONT_MATTER_BYTES].decode(errors="replace")
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
        return []
    return ["".join(c if c.isprintable() else " " for c in line) for line in lines[1 : lines.index("---", 1)]]
