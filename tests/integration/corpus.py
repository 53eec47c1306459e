# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A made-up news set: four topics, texts of 1 to 500 words, written anew from a seed. Real data belongs to the demo."""

import json
import random
from pathlib import Path

LABELS = ("grain", "money", "ship", "trade")
_COMMON = [f"word{index}" for index in range(300)]
_TOPIC = {label: [f"{label}{index}" for index in range(10)] for label in LABELS}


def text_of(label: str, num_words: int, rng: random.Random) -> str:
    """A text about `label`: every fourth word is one of the topic's own."""
    words = [rng.choice(_COMMON) for _ in range(num_words)]
    for index in range(0, num_words, 4):
        words[index] = rng.choice(_TOPIC[label])
    return " ".join(words)


def rows(num_rows: int, seed: int) -> list[dict[str, str]]:
    """Rows with the fields `label` and `text`; lengths are mixed, labels are balanced."""
    rng = random.Random(seed)
    lengths = (4, 10, 25, 60, 120, 500)
    return [
        {"label": LABELS[index % len(LABELS)], "text": text_of(LABELS[index % len(LABELS)], rng.choice(lengths), rng)}
        for index in range(num_rows)
    ]


def write(folder: Path) -> tuple[Path, Path]:
    """Write train.jsonl (600 rows) and test.jsonl (200 rows)."""
    paths = (folder / "train.jsonl", folder / "test.jsonl")
    for path, num_rows, seed in zip(paths, (600, 200), (1, 2), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(num_rows, seed)))
    return paths
