# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe: everything that fixes a training run except the machine.

Owns the YAML schema, its limits and its messages. It does not open data files.

    YAML text -> strict load (no repeated key, no alias, no tag) -> overrides -> Fields -> Recipe

A recipe trains either the ``linear`` or the ``rnn`` section; the README lists every key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.data_set import StoredName
from dragoman_models.fields import Fields, JsonValue

FORMAT = "dragoman.recipe/1"
MAX_RECIPE_BYTES = 64 << 10
CLASS_WEIGHTS = ("none", "balanced")
_OPTIONAL = {"class_weights"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """Which data set, and which share of each class of train is held out as dev."""

    name: str
    dev_fraction: float
    dev_seed: int
    stored: StoredName | None = None
    """Where it is to be fetched from; None: it lies in the data folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRecipe:
    """The vocabulary, built on the train part only. max_vocabulary 0 keeps every word."""

    max_vocabulary: int
    min_frequency: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearRecipe:
    """TF-IDF features and a linear fit.

    Attributes:
        solver: ``linear_svc`` (squared hinge) or ``logistic_regression``.
        refit_with_dev: Fit once more on train and dev together after the temperature was chosen on dev.
        class_weights: ``balanced`` lets every label weigh the same in the loss, however many rows it has.
    """

    ngram_max: int
    min_document_frequency: int
    sublinear_tf: bool
    solver: str
    c: float
    refit_with_dev: bool
    class_weights: str = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class RnnRecipe:
    """The network; see dragoman_models.rnn_shape.RnnHyperparameters. embedding_size counts only without vectors."""

    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    pooling: str
    embedding_dropout: float
    dropout: float
    embedding_size: int
    vectors: str
    """Data set whose vectors.txt initialises the embedding, or empty for random vectors of embedding_size."""
    stored_vectors: StoredName | None = None
    """As DataRecipe.stored, of vectors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecipe:
    """The gradient steps of the rnn section; class_weights as in LinearRecipe."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    class_weights: str = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One training run. Exactly one of linear and rnn is set; training comes with rnn."""

    name: str
    seed: int
    threads: int
    data: DataRecipe
    tokenizer: TokenizerRecipe
    shuffle_training_labels: bool
    linear: LinearRecipe | None = None
    rnn: RnnRecipe | None = None
    training: TrainingRecipe | None = None


def parse_recipe(text: str, *, file: str, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        text: The YAML.
        file: The file's name, for messages.
        overrides: Dotted key -> YAML scalar, such as ``{"training.epochs": "4"}``; applied before any check, so an
            override can set whatever the file could.

    Raises:
        InvalidArgumentError: not YAML, a repeated, unknown or missing key, or a value out of range. The message names
            the file, the key, and what is allowed there.
    """
    content = _load(text, file)
    for key, value in (overrides or {}).items():
        _override(content, key, value, file)
    top = Fields(
        content,
        what=file,
        required=("format", "name", "seed", "data", "tokenizer"),
        optional=("threads", "linear", "rnn", "training", "self_test"),
    )
    top.text("format", choices=(FORMAT,))
    if ("linear" in top) == ("rnn" in top):
        raise InvalidArgumentError(f"{file}: give exactly one of the sections linear and rnn")
    if ("training" in top) != ("rnn" in top):
        raise InvalidArgumentError(f"{file}: the section training belongs to rnn, and only to it")
    return Recipe(
        name=top.text("name", max_chars=63),
        seed=top.integer("seed", low=0, high=(1 << 32) - 1),
        threads=top.integer("threads", low=1, high=256) if "threads" in top else 1,
        data=_data(top.raw("data"), f"{file}: data"),
        tokenizer=_tokenizer(top.raw("tokenizer"), f"{file}: tokenizer"),
        shuffle_training_labels=_self_test(top.raw("self_test"), f"{file}: self_test") if "self_test" in top else False,
        linear=_linear(top.raw("linear"), f"{file}: linear") if "linear" in top else None,
        rnn=_rnn(top.raw("rnn"), f"{file}: rnn") if "rnn" in top else None,
        training=_training(top.raw("training"), f"{file}: training") if "training" in top else None,
    )


def _data(value: JsonValue, what: str) -> DataRecipe:
    fields = Fields(value, what=what, required=("name", "dev_fraction", "dev_seed"))
    name, stored = _data_set(fields, "name")
    return DataRecipe(
        name=name,
        stored=stored,
        dev_fraction=fields.number("dev_fraction", low=0.01, high=0.5),
        dev_seed=fields.integer("dev_seed", low=0, high=(1 << 32) - 1),
    )


def _data_set(fields: Fields, key: str) -> tuple[str, StoredName | None]:
    """The name of a data set, and where it is kept when the text says that the store has it."""
    text = fields.text(key, max_chars=160)
    try:
        stored = StoredName.parse(text)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{fields.what}: {key} {error.message}") from None
    return (_folder_name(fields, key), None) if stored is None else (stored.name, stored)


def _folder_name(fields: Fields, key: str) -> str:
    name = fields.text(key, max_chars=63)
    if not all(char.isascii() and (char.islower() or char.isdigit() or char in "._-") for char in name) or ".." in name:
        raise InvalidArgumentError(f"{fields.what}: {key} {name!r} must be lower-case letters, digits, '.', '_' or '-'")
    return name


def _tokenizer(value: JsonValue, what: str) -> TokenizerRecipe:
    fields = Fields(value, what=what, required=("backend", "max_vocabulary", "min_frequency", "max_tokens"))
    fields.text("backend", choices=("basic_english",))
    return TokenizerRecipe(
        max_vocabulary=fields.integer("max_vocabulary", low=0, high=2_000_000),
        min_frequency=fields.integer("min_frequency", low=1, high=1_000_000),
        max_tokens=fields.integer("max_tokens", low=1, high=32768),
    )


def _linear(value: JsonValue, what: str) -> LinearRecipe:
    fields = Fields(value, what=what, required=set(LinearRecipe.__dataclass_fields__) - _OPTIONAL, optional=_OPTIONAL)
    return LinearRecipe(
        ngram_max=fields.integer("ngram_max", low=1, high=3),
        min_document_frequency=fields.integer("min_document_frequency", low=1, high=1_000_000),
        sublinear_tf=fields.flag("sublinear_tf"),
        solver=fields.text("solver", choices=("linear_svc", "logistic_regression")),
        c=fields.number("c", low=1e-4, high=1e4),
        refit_with_dev=fields.flag("refit_with_dev"),
        class_weights=_class_weights(fields),
    )


def _rnn(value: JsonValue, what: str) -> RnnRecipe:
    keys = set(RnnRecipe.__dataclass_fields__)
    fields = Fields(
        value,
        what=what,
        required=keys - {"embedding_size", "vectors", "stored_vectors"},
        optional=("embedding_size", "vectors"),
    )
    if ("embedding_size" in fields) == ("vectors" in fields):
        raise InvalidArgumentError(f"{what}: give either vectors (their size then counts) or embedding_size")
    vectors, stored = _data_set(fields, "vectors") if "vectors" in fields else ("", None)
    return RnnRecipe(
        cell=fields.text("cell", choices=("lstm", "gru")),
        hidden_size=fields.integer("hidden_size", low=1, high=4096),
        num_layers=fields.integer("num_layers", low=1, high=8),
        bidirectional=fields.flag("bidirectional"),
        pooling=fields.text("pooling", choices=("max_mean", "last")),
        embedding_dropout=fields.number("embedding_dropout", low=0, high=0.95),
        dropout=fields.number("dropout", low=0, high=0.95),
        embedding_size=fields.integer("embedding_size", low=1, high=4096) if "embedding_size" in fields else 0,
        vectors=vectors,
        stored_vectors=stored,
    )


def _training(value: JsonValue, what: str) -> TrainingRecipe:
    fields = Fields(value, what=what, required=set(TrainingRecipe.__dataclass_fields__) - _OPTIONAL, optional=_OPTIONAL)
    return TrainingRecipe(
        epochs=fields.integer("epochs", low=1, high=1000),
        batch_size=fields.integer("batch_size", low=1, high=4096),
        optimizer=fields.text("optimizer", choices=("adam", "adamw")),
        learning_rate=fields.number("learning_rate", low=1e-6, high=1),
        schedule=fields.text("schedule", choices=("constant", "one_cycle")),
        weight_decay=fields.number("weight_decay", low=0, high=1),
        clip_norm=fields.number("clip_norm", low=1e-3, high=1e3),
        label_smoothing=fields.number("label_smoothing", low=0, high=0.5),
        class_weights=_class_weights(fields),
    )


def _class_weights(fields: Fields) -> str:
    return fields.text("class_weights", choices=CLASS_WEIGHTS) if "class_weights" in fields else "none"


def _self_test(value: JsonValue, what: str) -> bool:
    return Fields(value, what=what, required=("shuffle_training_labels",)).flag("shuffle_training_labels")


def _load(text: str, file: str) -> dict[str, JsonValue]:
    if len(text.encode()) > MAX_RECIPE_BYTES:
        raise InvalidArgumentError(f"{file}: over the limit of {MAX_RECIPE_BYTES} bytes")
    loader = _StrictLoader(text)
    try:
        content = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise InvalidArgumentError(f"{file}: {where}{getattr(error, 'problem', None) or 'not YAML'}") from error
    finally:
        loader.dispose()
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidArgumentError(f"{file}: must be a mapping of sections")
    return content


def _override(content: dict[str, JsonValue], key: str, value: str, file: str) -> None:
    *sections, last = key.split(".")
    target: JsonValue = content
    for section in sections:
        target = target.setdefault(section, {}) if isinstance(target, dict) else None
    scalar = _load(f"value: {value}", f"{file}: override {key}")["value"]
    if not isinstance(target, dict) or isinstance(scalar, dict | list):
        raise InvalidArgumentError(f"{file}: override {key}: must set a plain value inside a section")
    target[last] = scalar


class _StrictLoader(yaml.SafeLoader):
    """yaml.SafeLoader without its two surprises: a repeated key that wins silently, and aliases that multiply."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # not in the stubs
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
