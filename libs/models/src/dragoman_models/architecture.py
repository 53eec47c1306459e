# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry of architectures: the only way from a name in model.json to code.

Owns the table name -> architecture. Nothing a package says can import a module or add a row; an architecture is added
here, in a review.

    ModelConfig -> ARCHITECTURES[name] -> the tensors that it needs       (no torch: for whoever keeps packages)
    ModelConfig + weights bytes -> ARCHITECTURES[name] -> Classifier or Embedder      (for whoever runs them)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import linear, rnn_shape, transformer_shape
from dragoman_models.classifier import Classifier, Embedder
from dragoman_models.device import CPU, choose
from dragoman_models.fields import JsonScalar
from dragoman_models.package import CLASSIFICATION, EMBEDDING, MODEL_FILE, ModelConfig
from dragoman_models.tensors import TensorSpec, check_layout


def _load_linear(
    hyperparameters: Mapping[str, JsonScalar],
    num_labels: int,
    weights: bytes,
    device: str,  # noqa: ARG001 - numpy knows the CPU alone
) -> Classifier:
    return linear.load(hyperparameters, num_labels, weights)


def _load_rnn(hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes, device: str) -> Classifier:
    # Late, so that a worker that serves linear models runs without torch.
    from dragoman_models import rnn

    return rnn.load(hyperparameters, num_labels, weights, device=choose(device))


def _rnn_tensors(hyperparameters: Mapping[str, JsonScalar], num_labels: int) -> dict[str, TensorSpec]:
    return rnn_shape.tensor_specs(rnn_shape.RnnHyperparameters.parse(hyperparameters), num_labels)


def _load_transformer(
    hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes, device: str
) -> Classifier:
    # Late, as above.
    from dragoman_models import transformer

    return transformer.load(hyperparameters, num_labels, weights, device=choose(device))


def _transformer_tensors(hyperparameters: Mapping[str, JsonScalar], num_labels: int) -> dict[str, TensorSpec]:
    parsed = transformer_shape.TransformerHyperparameters.parse(hyperparameters)
    return transformer_shape.tensor_specs(parsed, num_labels)


def _load_transformer_embedder(hyperparameters: Mapping[str, JsonScalar], weights: bytes, device: str) -> Embedder:
    # Late, as above.
    from dragoman_models import transformer

    return transformer.load_embedder(hyperparameters, weights, device=choose(device))


def _check_task(config: ModelConfig, task: str) -> None:
    if config.task != task:
        raise InvalidArgumentError(
            f"{MODEL_FILE}: task is {config.task}; the {config.architecture.name} described here is for {task}"
        )


def _check_transformer(config: ModelConfig) -> None:
    parsed = transformer_shape.TransformerHyperparameters.parse(config.architecture.hyperparameters)
    _check_task(config, CLASSIFICATION if parsed.has_head else EMBEDDING)
    positions = parsed.max_positions
    if config.input_limits.max_tokens > positions:
        raise InvalidArgumentError(
            f"{MODEL_FILE}: max_tokens is {config.input_limits.max_tokens}; the transformer has {positions} positions"
        )


def _linear_tensors(hyperparameters: Mapping[str, JsonScalar], num_labels: int) -> dict[str, TensorSpec]:
    return linear.tensor_specs(linear.LinearHyperparameters.parse(hyperparameters), num_labels)


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one architecture is checked and loaded. All raise InvalidArgumentError for what does not fit.

    Attributes:
        tensors: (hyperparameters, number of labels) -> the exact tensors.
        load: (hyperparameters, number of labels, weights, device) -> the classifier.
        check: What model.json must hold beside the hyperparameters.
        load_embedder: (hyperparameters, weights, device) -> the embedder, where the architecture can be one.
    """

    tensors: Callable[[Mapping[str, JsonScalar], int], dict[str, TensorSpec]]
    load: Callable[[Mapping[str, JsonScalar], int, bytes, str], Classifier]
    check: Callable[[ModelConfig], None] = lambda config: _check_task(config, CLASSIFICATION)
    load_embedder: Callable[[Mapping[str, JsonScalar], bytes, str], Embedder] | None = None


ARCHITECTURES: Mapping[str, Architecture] = {
    "linear": Architecture(_linear_tensors, _load_linear),
    "rnn": Architecture(_rnn_tensors, _load_rnn),
    "transformer": Architecture(
        _transformer_tensors, _load_transformer, _check_transformer, _load_transformer_embedder
    ),
}


def load_classifier(config: ModelConfig, weights: bytes, *, device: str = CPU) -> Classifier:
    """Build the classifier that a package describes.

    Args:
        config: The parsed model.json.
        weights: The bytes of weights.safetensors, already verified against the version's digest.
        device: One of device.CHOICES. An architecture without torch computes on the CPU whatever it says.

    Raises:
        InvalidArgumentError: unknown architecture, or hyperparameters or weights that do not fit it.
        DeviceMissingError: see device.choose.
    """
    architecture = _architecture(config)
    _check_task(config, CLASSIFICATION)
    architecture.check(config)
    return architecture.load(config.architecture.hyperparameters, len(config.labels), weights, device)


def load_embedder(config: ModelConfig, weights: bytes, *, device: str = CPU) -> Embedder:
    """Build the embedder that a package describes; as load_classifier.

    Raises:
        InvalidArgumentError, DeviceMissingError: as load_classifier.
    """
    architecture = _architecture(config)
    _check_task(config, EMBEDDING)
    architecture.check(config)
    if architecture.load_embedder is None:
        raise InvalidArgumentError(f"{MODEL_FILE}: the architecture {config.architecture.name} cannot embed")
    return architecture.load_embedder(config.architecture.hyperparameters, weights, device)


def check_weights(config: ModelConfig, weights_start: bytes, *, weights_bytes: int) -> None:
    """Check that a package's weights file has exactly the tensors that its model.json needs, without loading it.

    Args:
        config: The parsed model.json.
        weights_start: The file's first tensors.MAX_START_BYTES, or all of a shorter one.
        weights_bytes: The file's size.

    Raises:
        InvalidArgumentError: unknown architecture, hyperparameters out of range, or a header that does not fit them.
    """
    architecture = _architecture(config)
    architecture.check(config)
    expected = architecture.tensors(config.architecture.hyperparameters, len(config.labels))
    check_layout(weights_start, expected, size_bytes=weights_bytes)


def _architecture(config: ModelConfig) -> Architecture:
    architecture = ARCHITECTURES.get(config.architecture.name)
    if architecture is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise InvalidArgumentError(
            f"{MODEL_FILE}: architecture {config.architecture.name!r} is unknown; known: {known}"
        )
    return architecture
