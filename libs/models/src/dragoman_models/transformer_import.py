# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a Hugging Face encoder's config.json and tensors to those of the ``transformer`` architecture. No torch.

Owns the strict reading of that config.json: every key is known to change nothing, or has the one value that we compute,
or is a size; any other is refused, because the scores would silently differ. It opens no file.

    config.json -> Source (family, sizes, labels) -> hyperparameters
    (name, array) of the safetensors file -> names of ours, float32, the rows of the tables that serving reads
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.package import check_labels
from dragoman_models.tensors import TensorSpec
from dragoman_models.transformer_families import FAMILIES, Family
from dragoman_models.transformer_shape import NO_HEAD, TransformerHyperparameters, tensor_specs
from dragoman_text.strict_json import parse_object

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 1 << 20

CODE_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines")
"""Keys of any JSON file of such a folder that ask for code to be run."""

_ACTIVATIONS: Mapping[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_QUANTISED = ("quantization_config", "compression_config")
# What changes the scores, with the value that we compute.
_FIXED: Mapping[str, object] = {
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
}
# What changes training, or nothing, or how the library answers.
_IGNORED = frozenset(
    {
        "_name_or_path",
        "_attn_implementation_autoset",
        "_num_labels",
        "attention_probs_dropout_prob",
        "attn_implementation",
        "bos_token_id",
        "chunk_size_feed_forward",
        "cls_token_id",
        "classifier_dropout",
        "dtype",
        "eos_token_id",
        "finetuning_task",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "initializer_factor",
        "initializer_range",
        "mask_token_id",
        "model_max_length",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "pad_token_id",
        "return_dict",
        "sep_token_id",
        "sentence_transformers",
        "tie_word_embeddings",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "type_vocab_size",
        "unk_token_id",
        "use_cache",
    }
)
# Saved by old versions of the library beside the weights; recomputed from the length of a row.
_RECOMPUTED = ("embeddings.position_ids", "embeddings.token_type_ids")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What config.json says.

    Attributes:
        hyperparameters: Of our network.
        labels: In the order of the scores; none for an encoder without a head.
        first_position: Rows of the position table that no token ever takes.
        num_token_types: Rows of the table of token types, of which one is read; 0 without such a table.
    """

    family: Family
    hyperparameters: TransformerHyperparameters
    labels: tuple[str, ...]
    first_position: int
    num_token_types: int


def is_encoder(data: bytes) -> bool:
    """Tell whether config.json is of a known encoder without a classification head."""
    value: dict[str, JsonValue] = parse_object(data, what=CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    return any(value.get("architectures") == [family.encoder] for family in FAMILIES)


def parse_source(data: bytes, *, pooling: str = "", normalises: bool = False) -> Source:
    """Read config.json as untrusted input.

    Args:
        data: The file.
        pooling: What an encoder without a head does with its tokens' states; see TransformerHyperparameters.
        normalises: See there.

    Raises:
        InvalidArgumentError: code is asked for, another class than one of a known family, an encoder whose pooling is
            not said, more than one label a text, a quantised model, or a key or value whose effect on the scores is not
            known here.
    """
    value: dict[str, JsonValue] = parse_object(data, what=CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES)
    refuse_code(value, what=CONFIG_FILE)
    for key in _QUANTISED:
        if value.get(key) is not None:
            raise InvalidArgumentError(
                f"{CONFIG_FILE}: {key}: quantised weights cannot be read; save the model in fp32"
            )
    family, has_head = _family(value)
    if not has_head and not pooling:
        raise InvalidArgumentError(
            f"{CONFIG_FILE}: {family.encoder} is an encoder without a classification head, and nothing says how its "
            f"tokens become one vector; fine-tune it as {family.classifier}, or save it with sentence-transformers"
        )
    _check_problem(value)
    sizes = set(family.sizes.values()) | {family.activation_key, "architectures", "model_type"}
    for key, needed in (
        ("layer_norm_eps", family.layer_norm_eps is None),
        ("type_vocab_size", family.has_token_type),
        ("pad_token_id", family.first_position is None),
        (family.embedding_size_key, bool(family.embedding_size_key)),
        (family.relative_buckets_key, bool(family.relative_buckets_key)),
    ):
        if needed:
            sizes.add(key)
    fixed = {**_FIXED, **family.fixed}
    known = (
        _IGNORED
        | family.ignored
        | fixed.keys()
        | {"id2label", "label2id", "num_labels", "problem_type", "layer_norm_eps"}
    )
    fields = Fields(value, what=CONFIG_FILE, required=sizes, optional=(known | set(_QUANTISED)) - sizes)
    for key, needed_value in fixed.items():
        if key in fields and (fields.raw(key) != needed_value or type(fields.raw(key)) is not type(needed_value)):
            raise InvalidArgumentError(
                f"{CONFIG_FILE}: {key} is not {needed_value!r}, and nothing else can be computed"
            )
    first_position = family.first_position
    if first_position is None:
        first_position = fields.integer("pad_token_id", low=0, high=1 << 10) + 1
    return Source(
        family=family,
        hyperparameters=_hyperparameters(
            fields,
            family,
            first_position,
            pooling="first" if has_head else pooling,
            head_activation=family.head_activation if has_head else NO_HEAD,
            normalises=normalises and not has_head,
        ),
        labels=_labels(value) if has_head else (),
        first_position=first_position,
        num_token_types=fields.integer("type_vocab_size", low=1, high=1 << 10) if family.has_token_type else 0,
    )


def refuse_code(value: JsonValue, *, what: str) -> None:
    """Refuse a JSON value that asks, however deep inside, for code to be run.

    Raises:
        InvalidArgumentError: naming the key.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for key in CODE_KEYS:
                if key in item:
                    raise InvalidArgumentError(f"{what}: {key} asks for the model's own code, which is never run")
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def foreign_specs(source: Source) -> dict[str, tuple[str, TensorSpec]]:
    """Return, by our names, the name and shape in the folder's file; a dtype of F32 may be a narrower float there."""
    ours = tensor_specs(source.hyperparameters, len(source.labels))
    return {name: (_foreign_name(source, name), _foreign_spec(source, name, spec)) for name, spec in ours.items()}


def is_unused(source: Source, name: str) -> bool:
    """Tell whether a tensor of the folder's file has no part in the answer: recomputed, or an idle pooler."""
    prefix = source.family.prefix if source.hyperparameters.has_head else ""
    classifies_pooled = source.hyperparameters.has_head and "pooler" in source.family.head["head.dense"]
    is_idle_pooler = not classifies_pooled and name.startswith(f"{prefix}pooler.")
    return is_idle_pooler or name.endswith(_RECOMPUTED)


def modern_name(name: str) -> str:
    """Return a tensor's name as the library has written it since 2019."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def convert(source: Source, read: Callable[[str], NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return our tensors.

    Args:
        source: What config.json says.
        read: Returns a tensor of the folder's file by its name, in float32, of the shape that foreign_specs says.

    Raises:
        InvalidArgumentError: a value is NaN or infinite.
    """
    tensors = {}
    for name, (foreign, _) in foreign_specs(source).items():
        array = read(foreign)
        if name == "embeddings.positions":
            array = array[source.first_position :]
        elif name == "embeddings.token_type":
            # A single text has no second part, whose tokens would be of type 1.
            array = array[0]
        if not np.isfinite(array).all():
            raise InvalidArgumentError(f"{foreign} has NaN or infinite values")
        tensors[name] = array
    return tensors


def _family(value: Mapping[str, JsonValue]) -> tuple[Family, bool]:
    """The family, and whether it is a classifier."""
    classes = value.get("architectures")
    name = classes[0] if isinstance(classes, list) and len(classes) == 1 else None
    for family in FAMILIES:
        if name in (family.classifier, family.encoder) and value.get("model_type") == family.model_type:
            return family, name == family.classifier
    known = ", ".join(family.classifier for family in FAMILIES)
    raise InvalidArgumentError(
        f"{CONFIG_FILE}: architectures {str(classes)[:80]} with model_type {str(value.get('model_type'))[:40]!r} "
        f"cannot be computed here; known: {known}"
    )


def _check_problem(value: Mapping[str, JsonValue]) -> None:
    problem = value.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise InvalidArgumentError(
            f"{CONFIG_FILE}: problem_type is {str(problem)[:40]!r}; only single_label_classification can be served"
        )


def _hyperparameters(
    fields: Fields, family: Family, first_position: int, *, pooling: str, head_activation: str, normalises: bool
) -> TransformerHyperparameters:
    high = 1 << 22
    sizes = {ours: fields.integer(theirs, low=1, high=high) for ours, theirs in family.sizes.items()}
    if sizes["max_positions"] <= first_position:
        raise InvalidArgumentError(f"{CONFIG_FILE}: max_position_embeddings leaves no position for a token")
    sizes["max_positions"] -= first_position
    embedding_size = sizes["hidden_size"]
    if family.embedding_size_key:
        embedding_size = fields.integer(family.embedding_size_key, low=1, high=high)
    found = TransformerHyperparameters(
        vocabulary_size=sizes["vocabulary_size"],
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_layers=sizes["num_layers"],
        num_heads=sizes["num_heads"],
        max_positions=sizes["max_positions"],
        embedding_size=embedding_size,
        projects_embeddings=family.always_projects or embedding_size != sizes["hidden_size"],
        activation=_ACTIVATIONS[fields.text(family.activation_key, choices=_ACTIVATIONS)],
        layer_norm_eps=family.layer_norm_eps or fields.number("layer_norm_eps", low=1e-15, high=0.1),
        has_token_type=family.has_token_type,
        shares_layers=family.shares_layers,
        relative_buckets=(
            fields.integer(family.relative_buckets_key, low=4, high=1024) if family.relative_buckets_key else 0
        ),
        pooling=pooling,
        head_activation=head_activation,
        normalises=normalises,
    )
    return TransformerHyperparameters.parse(found.to_mapping())


def _labels(value: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The labels by their number. Without any, the library means two."""
    names = value.get("id2label")
    if names is None:
        names = {"0": "LABEL_0", "1": "LABEL_1"}
    what = f"{CONFIG_FILE}: id2label"
    if not isinstance(names, dict) or sorted(names, key=_number) != [str(i) for i in range(len(names))]:
        raise InvalidArgumentError(f"{what}: must name the labels 0, 1, 2 and so on, without gaps")
    if len(names) < 2:
        raise InvalidArgumentError(f"{what}: one label only, as for a regression; a classifier has at least two")
    labels = check_labels([names[str(i)] for i in range(len(names))], what=what)
    numbers = value.get("label2id")
    if numbers is not None and numbers != {label: i for i, label in enumerate(labels)}:
        raise InvalidArgumentError(f"{CONFIG_FILE}: label2id and id2label contradict each other")
    if value.get("num_labels", len(labels)) != len(labels):
        raise InvalidArgumentError(f"{CONFIG_FILE}: num_labels is not the number of labels in id2label")
    return labels


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else -1


def _foreign_name(source: Source, name: str) -> str:
    family = source.family
    # A bare encoder's tensors are not below its name.
    prefix = family.prefix if source.hyperparameters.has_head else ""
    if name in family.body:
        return prefix + family.body[name]
    module, _, kind = name.rpartition(".")
    if module in family.body:
        return f"{prefix}{family.body[module]}.{kind}"
    if module in family.head:
        return f"{family.head[module].format(prefix=prefix)}.{kind}"
    _, number, part = module.split(".")
    return f"{prefix}{family.layer_prefix.format(number=number)}{family.layer[part]}.{kind}"


def _foreign_spec(source: Source, name: str, spec: TensorSpec) -> TensorSpec:
    if name == "embeddings.positions":
        rows, width = spec.shape
        return replace(spec, shape=(rows + source.first_position, width))
    if name == "embeddings.token_type":
        return replace(spec, shape=(source.num_token_types, *spec.shape))
    return spec
