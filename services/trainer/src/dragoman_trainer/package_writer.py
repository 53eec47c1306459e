# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A trained model as a package folder, whole or absent.

Owns the folder's appearance and the card's text. What the files mean is dragoman_models' to say. The card holds facts
of the run and no line of the training data.

    files -> temporary folder -> every file synced -> one rename
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dragoman_common.atomic import sync_folder
from dragoman_common.errors import AlreadyExistsError
from dragoman_models.evaluation import DatasetEvaluation
from dragoman_models.package import ModelConfig
from dragoman_trainer.data import Corpus
from dragoman_trainer.recipe import Recipe


def write_package(target: Path, files: Mapping[str, bytes]) -> None:
    """Create the folder with exactly these files.

    Raises:
        AlreadyExistsError: the folder exists; a package is never changed in place.
    """
    if target.exists():
        raise AlreadyExistsError(f"{target} exists; choose another output folder")
    partial = Path(tempfile.mkdtemp(prefix=".package-", dir=target.parent))
    try:
        for name, data in files.items():
            with (partial / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(partial)
        partial.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def card(
    recipe: Recipe, config: ModelConfig, corpus: Corpus, evaluation: DatasetEvaluation, facts: Mapping[str, str]
) -> bytes:
    """Return card.md: what the model is, what it was trained on, how well it did, and what to watch for."""
    lines = [
        f"# {recipe.name} on {corpus.name}",
        "",
        f"A `{config.architecture.name}` text classifier with {len(config.labels)} labels: {', '.join(config.labels)}.",
        "",
        "## Trained on",
        "",
        f"- data set `{corpus.name}`: {len(corpus.train)} train, {len(corpus.dev)} dev, {len(corpus.test)} test rows",
        f"- licence of the data: {corpus.licence}",
        f"- sha256 of the train rows: `{corpus.train.digest}`",
        *(f"- {line}" for line in corpus.hygiene.lines()[2:4]),
        "",
        f"## Results on the {evaluation.split} part",
        "",
        *_table(
            [
                ("accuracy", f"{evaluation.accuracy:.4f}"),
                ("accuracy of always answering the majority", f"{evaluation.majority_accuracy:.4f}"),
                ("macro F1", f"{evaluation.macro_f1:.4f}"),
                ("macro recall", f"{evaluation.macro_recall:.4f}"),
                ("expected calibration error, 15 bins", f"{evaluation.ece:.4f}"),
                ("mean negative log-likelihood", f"{evaluation.nll:.4f}"),
            ]
        ),
        "",
        "## How",
        "",
        f"- recipe `{recipe.name}`, seed {recipe.seed}, {recipe.threads} thread(s)",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "- every choice (epoch, temperature) was made on the dev part; the test part was read once",
    ]
    if recipe.shuffle_training_labels:
        lines += ["", "**Self-test: the training labels were shuffled. This model must not be used.**"]
    return ("\n".join(lines) + "\n").encode()


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| metric | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
