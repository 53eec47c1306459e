# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a recipe's architecture section to weights: which fit is run, and what it leaves for the package.

Owns the choice between the architectures and the reporting of steps. The fits themselves are linear_fit and rnn_fit.

    Encoded corpus + recipe -> linear_fit | rnn_fit -> Fitted (hyperparameters, weights bytes, facts for the card)
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import linear, package
from dragoman_models.classifier import TokenIds
from dragoman_models.device import CPU
from dragoman_models.fields import JsonScalar
from dragoman_text import BasicEnglishTokenizer
from dragoman_trainer.checkpointing import Checkpointer
from dragoman_trainer.data import Corpus, merge
from dragoman_trainer.history import Step
from dragoman_trainer.linear_fit import fit_linear
from dragoman_trainer.ports import Progress, ProgressReporter
from dragoman_trainer.recipe import LinearRecipe, Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """An architecture's part of a package. The temperature in the hyperparameters may still be the neutral 1."""

    architecture: str
    hyperparameters: Mapping[str, JsonScalar]
    weights: bytes
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The corpus as token rows, and the tokenizer that made them, which the package will carry."""

    tokenizer: BasicEnglishTokenizer
    train: list[TokenIds]
    dev: list[TokenIds]
    test: list[TokenIds]


def fit(
    recipe: Recipe,
    corpus: Corpus,
    encoded: Encoded,
    data_dir: Path,
    reporter: ProgressReporter,
    *,
    checkpointer: Checkpointer | None = None,
    device: str = CPU,
) -> Fitted:
    """Train the architecture that the recipe names, on the train part; dev chooses the epoch.

    The device, one of dragoman_models.device.CHOICES, is for what torch trains: a linear recipe has none.

    Raises:
        DragomanError: with a message for the recipe's author.
        JobCancelledError: the reporter said so.
    """
    if recipe.linear is not None:
        reporter.report(Progress(stage="train", metrics={}))
        fitted = fit_linear(
            encoded.train,
            corpus.train.labels,
            recipe.linear,
            num_labels=len(corpus.label_names),
            vocabulary_size=encoded.tokenizer.vocabulary_size,
            temperature=1.0,
            seed=recipe.seed,
        )
        return Fitted(
            architecture="linear",
            hyperparameters=fitted.vectoriser.hyperparameters.to_mapping(),
            weights=linear.dump(fitted.vectoriser, fitted.coefficients_FC, fitted.intercept_C),
            facts=_linear_facts(recipe.linear, fitted.vectoriser.hyperparameters.num_features),
        )
    return _fit_rnn(recipe, corpus, encoded, data_dir, reporter, checkpointer=checkpointer, device=device)


def _fit_rnn(
    recipe: Recipe,
    corpus: Corpus,
    encoded: Encoded,
    data_dir: Path,
    reporter: ProgressReporter,
    *,
    checkpointer: Checkpointer | None,
    device: str,
) -> Fitted:
    # Late, so that a linear run needs no torch.
    from dragoman_models import rnn
    from dragoman_trainer.loop import EncodedSplit
    from dragoman_trainer.rnn_fit import fit_rnn

    if recipe.rnn is None or recipe.training is None:
        raise InvalidArgumentError(f"recipe {recipe.name!r} has neither a linear nor an rnn section")
    fitted = fit_rnn(
        recipe.rnn,
        recipe.training,
        EncodedSplit(encoded.train, corpus.train.labels),
        EncodedSplit(encoded.dev, corpus.dev.labels),
        encoded.tokenizer.vocabulary.tokens,
        num_specials=len(encoded.tokenizer.vocabulary.specials),
        num_labels=len(corpus.label_names),
        data_dir=data_dir,
        seed=recipe.seed,
        threads=recipe.threads,
        on_step=_step_reporter(reporter, recipe.training.epochs),
        checkpointer=checkpointer,
        device=device,
    )
    best = max(fitted.history, key=lambda epoch: (epoch.dev_accuracy, -epoch.dev_loss))
    num_words = encoded.tokenizer.vocabulary_size - len(encoded.tokenizer.vocabulary.specials)
    return Fitted(
        architecture="rnn",
        hyperparameters=fitted.network.hyperparameters.to_mapping(),
        weights=rnn.dump(fitted.network),
        facts={
            "best epoch on dev": f"{best.epoch} of {recipe.training.epochs}",
            "words with a pretrained vector": f"{fitted.num_vectors_found} of {num_words}",
        },
    )


def _step_reporter(reporter: ProgressReporter, num_epochs: int) -> Callable[[Step], None]:
    started = time.perf_counter()
    metrics: dict[str, float] = {}
    first_step: int | None = None

    def report(step: Step) -> None:
        nonlocal first_step
        # A run that goes on from a checkpoint did not do the steps before it in this time.
        first_step = step.step if first_step is None else first_step
        metrics["train_loss"] = step.loss
        if step.epoch is not None:
            epoch = step.epoch
            metrics.update(
                train_accuracy=epoch.train_accuracy, dev_loss=epoch.dev_loss, dev_accuracy=epoch.dev_accuracy
            )
            logger.info(
                "epoch done", extra={"epoch": epoch.epoch, **{key: round(value, 4) for key, value in metrics.items()}}
            )
        eta_s = (time.perf_counter() - started) / (step.step - first_step + 1) * (step.num_steps - step.step)
        reporter.report(
            Progress(
                stage="train",
                epoch=step.epoch_number,
                num_epochs=num_epochs,
                step=step.step,
                num_steps=step.num_steps,
                eta_s=eta_s,
                metrics=dict(metrics),
            )
        )

    return report


def refit_linear(
    recipe: LinearRecipe, config: package.ModelConfig, corpus: Corpus, encoded: Encoded, seed: int
) -> Fitted:
    """Fit once more on train and dev together, at the temperature that dev chose; nothing is selected any more.

    Raises:
        InvalidArgumentError: see fit_linear.
    """
    fitted = fit_linear(
        [*encoded.train, *encoded.dev],
        merge(corpus.train, corpus.dev).labels,
        recipe,
        num_labels=len(corpus.label_names),
        vocabulary_size=encoded.tokenizer.vocabulary_size,
        temperature=float(config.architecture.hyperparameters["temperature"]),
        seed=seed,
    )
    return Fitted(
        architecture="linear",
        hyperparameters=fitted.vectoriser.hyperparameters.to_mapping(),
        weights=linear.dump(fitted.vectoriser, fitted.coefficients_FC, fitted.intercept_C),
        facts=_linear_facts(recipe, fitted.vectoriser.hyperparameters.num_features),
    )


def _linear_facts(recipe: LinearRecipe, num_features: int) -> dict[str, str]:
    return {
        "features": f"{num_features} n-grams of up to {recipe.ngram_max} tokens",
        "solver": f"{recipe.solver}, C {recipe.c:g}",
        "fitted on": "train and dev, after the temperature was chosen on dev" if recipe.refit_with_dev else "train",
    }
