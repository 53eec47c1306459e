# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt


def save_confusion(cells: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw counts by true (row) and predicted (column) label, shaded by the share of the row.

    Args:
        cells: true_label, predicted_label and count, as the report has them.
        path: where the PNG goes.
        title: shown above.
    """
    labels = sorted({cell["true_label"] for cell in cells} | {cell["predicted_label"] for cell in cells})
    index = {label: position for position, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for cell in cells:
        counts[index[cell["true_label"]], index[cell["predicted_label"]]] = cell["count"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    for true, predicted in np.argwhere(counts):
        color = "white" if shares[true, predicted] > 0.5 else "black"
        axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", color=color)
    figure.savefig(path, dpi=120)
    plt.close(figure)
