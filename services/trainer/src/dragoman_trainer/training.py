# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One training run from recipe to package, on one screen.

Owns the order of the stages and what is reported about them. Each stage's work is another module's.

    fetch, load corpus -> tokenizer on train only -> fit (dev chooses) -> temperature on dev
    -> evaluate the packaged bytes on test, once -> write package -> publish
"""

import hashlib
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from dragoman_common.errors import InvalidArgumentError
from dragoman_models import evaluation, package
from dragoman_models.architecture import load_classifier
from dragoman_models.classifier import TokenIds
from dragoman_models.device import CPU
from dragoman_models.evaluation import DatasetEvaluation
from dragoman_text import BasicEnglishTokenizer
from dragoman_trainer.checkpointing import Checkpointer
from dragoman_trainer.data import Corpus, Split, load_corpus, shuffle_labels
from dragoman_trainer.fitting import Encoded, Fitted, fit, refit_linear
from dragoman_trainer.package_writer import card, write_package
from dragoman_trainer.ports import DataSource, Lineage, Progress, ProgressReporter, Published, Publisher
from dragoman_trainer.recipe import Recipe
from dragoman_trainer.stored_data import data_folders
from dragoman_trainer.temperature import fit_temperature

logger = logging.getLogger(__name__)

PACKAGE_FOLDER = "package"
DATA_FOLDER = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What came out of a run.

    Attributes:
        weights_sha256: Digest of weights.safetensors; equal for equal runs.
    """

    package_dir: Path
    evaluation: DatasetEvaluation
    dev_accuracy: float
    weights_sha256: str
    train_s: float
    total_s: float
    published: Published | None


def run(
    recipe: Recipe,
    recipe_text: str,
    *,
    data_dir: Path,
    output_dir: Path,
    reporter: ProgressReporter,
    publisher: Publisher | None = None,
    data_source: DataSource | None = None,
    checkpointer: Checkpointer | None = None,
    device: str = CPU,
) -> RunResult:
    """Train as the recipe says and leave ``<output_dir>/package``.

    Args:
        recipe: What to do.
        recipe_text: The same as its author wrote it, for the record.
        data_dir: Where the data sets lie that are not in the store.
        output_dir: Where the package appears, and while it runs what was fetched.
        reporter: Hears about it.
        publisher: Takes the package; None leaves it on disk.
        data_source: Has the data sets that are in the store.
        checkpointer: Keeps the state of training steps, so that a run that was killed goes on.
        device: One of dragoman_models.device.CHOICES, for what is computed with torch.

    Raises:
        JobCancelledError: the reporter said so; nothing is left behind.
        DragomanError: with a message for the recipe's author.
    """
    started = time.perf_counter()
    reporter.report(Progress(stage="load", metrics={}))
    corpus_dir, vectors_dir = data_folders(recipe, data_dir, output_dir / DATA_FOLDER, data_source)
    corpus = load_corpus(
        recipe.data.name, corpus_dir, dev_fraction=recipe.data.dev_fraction, dev_seed=recipe.data.dev_seed
    )
    for line in corpus.hygiene.lines():
        logger.info("data: %s", line)
    if recipe.shuffle_training_labels:
        logger.warning("self-test: the training labels are shuffled")
        corpus = replace(
            corpus, train=shuffle_labels(corpus.train, recipe.seed), dev=shuffle_labels(corpus.dev, recipe.seed)
        )
    encoded = _encode(corpus, recipe)
    train_started = time.perf_counter()
    fitted = fit(recipe, corpus, encoded, vectors_dir, reporter, checkpointer=checkpointer, device=device)
    train_s = time.perf_counter() - train_started
    reporter.report(Progress(stage="evaluate", metrics={}))
    config, dev_accuracy = _calibrate(recipe, corpus, encoded, fitted, device)
    if recipe.linear is not None and recipe.linear.refit_with_dev:
        fitted = refit_linear(recipe.linear, config, corpus, encoded, recipe.seed)
        config = _config(recipe, corpus, fitted)
    classifier = load_classifier(config, fitted.weights, device=device)
    result = evaluation.evaluate(
        corpus.test.labels,
        classifier.score(encoded.test),
        name=corpus.name,
        split="test",
        digest=corpus.test.digest,
    )
    package_dir = output_dir / PACKAGE_FOLDER
    files = {
        package.MODEL_FILE: package.to_json(config),
        package.WEIGHTS_FILE: fitted.weights,
        package.TOKENIZER_FILE: encoded.tokenizer.to_json(),
        package.CARD_FILE: card(recipe, config, corpus, result, fitted.facts),
        package.EVALUATION_FILE: evaluation.to_json([result]),
    }
    write_package(package_dir, files)
    metrics = {
        "test_accuracy": result.accuracy,
        "test_macro_f1": result.macro_f1,
        "dev_accuracy": dev_accuracy,
        "train_s": train_s,
    }
    logger.info("evaluated", extra=metrics)
    published = None
    if publisher is not None:
        reporter.report(Progress(stage="publish", metrics=metrics))
        published = publisher.publish(package_dir, Lineage(recipe=recipe_text, data_sha256=corpus.train.digest))
        reporter.published(published)
        if checkpointer is not None:
            checkpointer.drop()
    return RunResult(
        package_dir=package_dir,
        evaluation=result,
        dev_accuracy=dev_accuracy,
        weights_sha256=hashlib.sha256(fitted.weights).hexdigest(),
        train_s=train_s,
        total_s=time.perf_counter() - started,
        published=published,
    )


def _encode(corpus: Corpus, recipe: Recipe) -> Encoded:
    """Build the tokenizer on the train part only and encode all parts with it, as serving will."""
    tokenizer = BasicEnglishTokenizer.build(
        corpus.train.texts,
        max_size=recipe.tokenizer.max_vocabulary or None,
        min_frequency=recipe.tokenizer.min_frequency,
    )

    def rows(split: Split, part: str) -> list[TokenIds]:
        encodings = tokenizer.encode(split.texts, recipe.tokenizer.max_tokens)
        empty = next((number for number, encoding in enumerate(encodings, start=1) if not encoding.ids.size), None)
        if empty is not None:
            raise InvalidArgumentError(f"data set {corpus.name!r}: row {empty} of {part} has no token")
        return [encoding.ids for encoding in encodings]

    return Encoded(
        tokenizer=tokenizer,
        train=rows(corpus.train, "train"),
        dev=rows(corpus.dev, "dev"),
        test=rows(corpus.test, "test"),
    )


def _config(recipe: Recipe, corpus: Corpus, fitted: Fitted) -> package.ModelConfig:
    return package.ModelConfig(
        architecture=package.Architecture(name=fitted.architecture, hyperparameters=fitted.hyperparameters),
        labels=corpus.label_names,
        tokenizer=package.TokenizerFile(backend="basic_english"),
        input_limits=package.InputLimits(max_tokens=recipe.tokenizer.max_tokens),
    )


def _calibrate(
    recipe: Recipe, corpus: Corpus, encoded: Encoded, fitted: Fitted, device: str
) -> tuple[package.ModelConfig, float]:
    """Return the config with the temperature that dev asks for, and the accuracy on dev."""
    config = _config(recipe, corpus, fitted)
    logits = load_classifier(config, fitted.weights, device=device).logits(encoded.dev)
    hyperparameters = {**fitted.hyperparameters, "temperature": fit_temperature(logits, corpus.dev.labels)}
    accuracy = float((logits.argmax(axis=1) == corpus.dev.labels).sum() / len(corpus.dev))
    return replace(config, architecture=replace(config.architecture, hyperparameters=hyperparameters)), accuracy
