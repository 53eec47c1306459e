# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a recipe's rnn section to a trained network. With loop, the only modules of the trainer that import torch.

Owns the network's construction: hyperparameters, fresh weights, pretrained vectors really copied into the embedding.

    recipe + vocabulary -> RnnNetwork (initialised, vectors copied) -> loop.fit -> trained network
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from dragoman_models.device import CPU, choose
from dragoman_models.rnn import RnnNetwork
from dragoman_models.rnn_shape import RnnHyperparameters
from dragoman_trainer.checkpointing import Checkpointer
from dragoman_trainer.embedding import VECTORS_FILE, load_vectors
from dragoman_trainer.history import EpochMetrics, Step
from dragoman_trainer.loop import EncodedSplit, fit
from dragoman_trainer.recipe import RnnRecipe, TrainingRecipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RnnFit:
    """A trained network with the history of its epochs and how many words had a pretrained vector."""

    network: RnnNetwork
    history: Sequence[EpochMetrics]
    num_vectors_found: int


def build_network(
    recipe: RnnRecipe, tokens: Sequence[str], *, num_specials: int, num_labels: int, data_dir: Path, seed: int
) -> tuple[RnnNetwork, int]:
    """Return a fresh network and the number of embedding rows that were copied from pretrained vectors.

    Args:
        recipe: The rnn section.
        tokens: The vocabulary in id order.
        num_specials: Entries at its head that are not words.
        num_labels: C.
        data_dir: Where the vectors' data set lies.
        seed: Seed of all fresh weights.

    Raises:
        NotFoundError: the recipe's vectors are not in data_dir.
    """
    vectors = None
    if recipe.vectors:
        path = data_dir / recipe.vectors / VECTORS_FILE
        vectors = load_vectors(path, tokens, num_specials=num_specials, seed=seed)
        num_words = max(1, len(tokens) - num_specials)
        logger.info(
            "word vectors copied",
            extra={
                "dimension": vectors.rows.shape[1],
                "num_found": vectors.num_found,
                "hit_rate": round(vectors.num_found / num_words, 4),
            },
        )
    hyperparameters = RnnHyperparameters(
        cell=recipe.cell,
        vocabulary_size=len(tokens),
        embedding_size=vectors.rows.shape[1] if vectors is not None else recipe.embedding_size,
        hidden_size=recipe.hidden_size,
        num_layers=recipe.num_layers,
        bidirectional=recipe.bidirectional,
        pooling=recipe.pooling,
        embedding_dropout=recipe.embedding_dropout,
        dropout=recipe.dropout,
    )
    torch.manual_seed(seed)
    network = RnnNetwork(hyperparameters, num_labels)
    network.initialise()
    if vectors is not None:
        with torch.no_grad():
            network.embedding.weight.copy_(torch.from_numpy(vectors.rows))
    return network, vectors.num_found if vectors is not None else 0


def fit_rnn(
    recipe: RnnRecipe,
    training: TrainingRecipe,
    train: EncodedSplit,
    dev: EncodedSplit,
    tokens: Sequence[str],
    *,
    num_specials: int,
    num_labels: int,
    data_dir: Path,
    seed: int,
    threads: int,
    on_step: Callable[[Step], None],
    checkpointer: Checkpointer | None = None,
    device: str = CPU,
) -> RnnFit:
    """Build and train; the same arguments give the same weights on the same machine's CPU.

    On CUDA the fresh weights, the order of the data and the dropout are the same in each run, but torch adds up some
    gradients in any order: weights agree to rounding, as they do between devices. The device is no part of what a
    checkpoint is held to: a run that began on one goes on on the other.

    Raises:
        DeviceMissingError: see dragoman_models.device.choose, which takes the device.
        DragomanError: see build_network and loop.fit.
    """
    computes_on = choose(device)
    logger.info("training", extra={"device": computes_on})
    torch.set_num_threads(threads)
    if checkpointer is not None:
        checkpointer.describe(
            {
                "recipe": asdict(recipe),
                "training": asdict(training),
                "tokens": sha256("\n".join(tokens).encode()).hexdigest(),
                "data": [_digest(split) for split in (train, dev)],
                "seed": seed,
                "threads": threads,
                "torch": torch.__version__,
            }
        )
    network, num_found = build_network(
        recipe, tokens, num_specials=num_specials, num_labels=num_labels, data_dir=data_dir, seed=seed
    )
    network = network.to(computes_on)
    history = fit(network, train, dev, training, seed=seed, on_step=on_step, checkpointer=checkpointer)
    return RnnFit(network, history, num_found)


def _digest(split: EncodedSplit) -> str:
    digest = sha256(np.asarray(split.labels, dtype=np.int64).tobytes())
    for row in split.rows:
        digest.update(len(row).to_bytes(8, "little") + np.asarray(row, dtype=np.int32).tobytes())
    return digest.hexdigest()
