# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry of architectures: the only way from a name in model.json to code.

Owns the table name -> loader. Nothing a package says can import a module or add a row; an architecture is added here,
in a review.

    ModelConfig + weights bytes -> LOADERS[name] -> Classifier
"""

from collections.abc import Callable, Mapping

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import linear
from dragoman_models.classifier import Classifier
from dragoman_models.fields import JsonScalar
from dragoman_models.package import MODEL_FILE, ModelConfig


def _load_rnn(hyperparameters: Mapping[str, JsonScalar], num_labels: int, weights: bytes) -> Classifier:
    # Late, so that a worker that serves linear models runs without torch.
    from dragoman_models import rnn

    return rnn.load(hyperparameters, num_labels, weights)


LOADERS: Mapping[str, Callable[[Mapping[str, JsonScalar], int, bytes], Classifier]] = {
    "linear": linear.load,
    "rnn": _load_rnn,
}


def load_classifier(config: ModelConfig, weights: bytes) -> Classifier:
    """Build the classifier that a package describes.

    Args:
        config: The parsed model.json.
        weights: The bytes of weights.safetensors, already verified against the version's digest.

    Raises:
        InvalidArgumentError: unknown architecture, or hyperparameters or weights that do not fit it.
    """
    loader = LOADERS.get(config.architecture.name)
    if loader is None:
        known = ", ".join(sorted(LOADERS))
        raise InvalidArgumentError(
            f"{MODEL_FILE}: architecture {config.architecture.name!r} is unknown; known: {known}"
        )
    return loader(config.architecture.hyperparameters, len(config.labels), weights)
