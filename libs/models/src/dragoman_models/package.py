# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a model package is: its file names, its limits, and model.json.

Owns the strict parsing and writing of model.json (the format is in this library's README). It does not read weights
(tensors), does not know what an architecture's hyperparameters mean (architecture), and does not check signatures.

    model.json bytes -> strict JSON -> Fields -> ModelConfig -> architecture.load_classifier
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.names import check_name
from dragoman_models.fields import Fields, JsonScalar, JsonValue
from dragoman_text.strict_json import parse_object

FORMAT = "dragoman.model/1"
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.md"
EVALUATION_FILE = "evaluation.json"
PACKAGE_FILES = (MODEL_FILE, WEIGHTS_FILE, TOKENIZER_FILE, CARD_FILE, EVALUATION_FILE)

MAX_MODEL_JSON_BYTES = 1 << 20
MAX_LABELS = 4096
MAX_LABEL_CHARS = 128
MAX_HYPERPARAMETERS = 64
MAX_TEXT_BYTES = 1 << 20
MAX_TOKENS = 1 << 15

CLASSIFICATION = "text-classification"
EMBEDDING = "embedding"
TASKS = (CLASSIFICATION, EMBEDDING)
TOKENIZER_BACKENDS = ("basic_english", "huggingface")
NUMERICS = ("fp32",)

# Control characters would break logs and metrics that carry the label; a label is otherwise the caller's own text.
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Which of our classes computes the scores, and its hyperparameters (checked by that class)."""

    name: str
    hyperparameters: Mapping[str, JsonScalar]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFile:
    """Which tokenizer backend reads the package's tokenizer file."""

    backend: str
    file: str = TOKENIZER_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class InputLimits:
    """What one row may hold. Longer texts are refused; longer token rows are cut at max_tokens by the tokenizer."""

    max_text_bytes: int = 65536
    max_tokens: int = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The content of model.json: all that is needed to turn weights into a classifier.

    Attributes:
        labels: C distinct names; their order is the order of the scores. None for an embedding.
    """

    architecture: Architecture
    labels: tuple[str, ...]
    tokenizer: TokenizerFile
    input_limits: InputLimits = field(default_factory=InputLimits)
    task: str = CLASSIFICATION
    numerics: str = "fp32"


def parse_model_config(data: bytes) -> ModelConfig:
    """Read model.json as untrusted input.

    Raises:
        InvalidArgumentError: anything that this format does not define, named with the key and what is allowed.
    """
    top = Fields(
        parse_object(data, what=MODEL_FILE, max_bytes=MAX_MODEL_JSON_BYTES),
        what=MODEL_FILE,
        required=("format", "task", "architecture", "labels", "tokenizer", "input_limits", "numerics"),
    )
    top.text("format", choices=(FORMAT,))
    tokenizer = Fields(top.raw("tokenizer"), what=f"{MODEL_FILE}: tokenizer", required=("backend", "file"))
    limits = Fields(
        top.raw("input_limits"), what=f"{MODEL_FILE}: input_limits", required=("max_text_bytes", "max_tokens")
    )
    task = top.text("task", choices=TASKS)
    return ModelConfig(
        task=task,
        architecture=_architecture(top.raw("architecture")),
        labels=_labels(task, top.items("labels", max_items=MAX_LABELS)),
        tokenizer=TokenizerFile(
            backend=tokenizer.text("backend", choices=TOKENIZER_BACKENDS),
            file=tokenizer.text("file", choices=(TOKENIZER_FILE,)),
        ),
        input_limits=InputLimits(
            max_text_bytes=limits.integer("max_text_bytes", low=1, high=MAX_TEXT_BYTES),
            max_tokens=limits.integer("max_tokens", low=1, high=MAX_TOKENS),
        ),
        numerics=top.text("numerics", choices=NUMERICS),
    )


def to_json(config: ModelConfig) -> bytes:
    """Write model.json; equal configs give equal bytes, and parse_model_config reads them back unchanged.

    Raises:
        InvalidArgumentError: the config breaks a limit of the format.
    """
    content = {
        "format": FORMAT,
        "task": config.task,
        "architecture": {
            "name": config.architecture.name,
            "hyperparameters": dict(sorted(config.architecture.hyperparameters.items())),
        },
        "labels": list(config.labels),
        "tokenizer": {"backend": config.tokenizer.backend, "file": config.tokenizer.file},
        "input_limits": {
            "max_text_bytes": config.input_limits.max_text_bytes,
            "max_tokens": config.input_limits.max_tokens,
        },
        "numerics": config.numerics,
    }
    data = (json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()
    parse_model_config(data)
    return data


def _labels(task: str, labels: list[JsonValue]) -> tuple[str, ...]:
    what = f"{MODEL_FILE}: labels"
    if task == EMBEDDING:
        if labels:
            raise InvalidArgumentError(f"{what}: must be empty, an embedding has none")
        return ()
    return check_labels(labels, what=what)


def check_labels(labels: list[JsonValue], *, what: str) -> tuple[str, ...]:
    """Return the labels as a tuple of at least two distinct, printable names.

    Raises:
        InvalidArgumentError: fewer than two, a repeated one, or one that is empty, too long or has control characters.
    """
    names: list[str] = []
    for label in labels:
        if not isinstance(label, str) or len(label) > MAX_LABEL_CHARS or not _LABEL.fullmatch(label):
            raise InvalidArgumentError(
                f"{what}: {str(label)[:64]!r} must be 1 to {MAX_LABEL_CHARS} characters without control characters"
            )
        names.append(label)
    if len(names) < 2:
        raise InvalidArgumentError(f"{what}: at least two labels are needed, found {len(names)}")
    if len(names) > MAX_LABELS:
        raise InvalidArgumentError(f"{what}: {len(names)} labels, the limit is {MAX_LABELS}")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidArgumentError(f"{what}: {repeated!r} is listed twice")
    return tuple(names)


def _architecture(value: JsonValue) -> Architecture:
    what = f"{MODEL_FILE}: architecture"
    fields = Fields(value, what=what, required=("name", "hyperparameters"))
    name = fields.text("name", max_chars=63)
    check_name(name, field=f"{what}: name")
    given = fields.raw("hyperparameters")
    if not isinstance(given, dict) or len(given) > MAX_HYPERPARAMETERS:
        raise InvalidArgumentError(f"{what}: hyperparameters must be an object of at most {MAX_HYPERPARAMETERS} keys")
    checked: dict[str, JsonScalar] = {}
    for key, item in given.items():
        if not isinstance(item, str | int | float | bool):
            raise InvalidArgumentError(f"{what}: hyperparameter {key[:64]!r} must be a string, number or boolean")
        checked[key] = item
    return Architecture(name=name, hyperparameters=checked)
