# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How fast is text turned into ids? Our basic_english beside a plain Python reference and Hugging Face tokenizers.

    python bench/tokenizer/run.py [--rows 2000] [--repeats 5] [--file TEXT]

Every contender gets the same rows, learns a vocabulary of the same size from them, and runs in this process on one
thread; the best of `--repeats` rounds counts, rounds of different contenders interleaved. Without `--file` (one text a
line) rows are made up: 25,000 words, Zipf frequencies, punctuation, 20 to 200 words a row, seed 7. The reference is the
definition of basic_english done step by step (one substitution per mark, then one dictionary look-up per word).
"""

import argparse
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

# Read when the tokenizers library loads: one thread each, so that rates compare per core.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from dragoman_text import BasicEnglishTokenizer, Tokenizer, train_huggingface

VOCABULARY_SIZE = 25_000
MAX_TOKENS = 100_000
_STEPS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"'", " '  "),
        (r'"', ""),
        (r"\.", " . "),
        (r"<br />", " "),
        (r",", " , "),
        (r"\(", " ( "),
        (r"\)", " ) "),
        (r"!", " ! "),
        (r"\?", " ? "),
        (r"[;:]", " "),
        (r"\s+", " "),
    )
]


def made_up_rows(count: int) -> list[str]:
    """Rows of made-up words with the frequencies and the punctuation of news text."""
    source = random.Random(7)
    words = [
        "".join(source.choices("etaoinshrdlucmfwypvbgkqjxz", range(26, 0, -1), k=source.randint(1, 10)))
        for _ in range(25_000)
    ]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    rows = []
    for _ in range(count):
        picked = source.choices(words, weights, k=source.randint(20, 200))
        picked = [word + source.choice(["", "", "", "", "", "", ",", ".", "'s", "; "]) for word in picked]
        rows.append(" ".join(picked).capitalize())
    return rows


def reference(index: dict[str, int]) -> Callable[[list[str]], int]:
    """basic_english step by step; returns a function that counts the tokens it encoded."""

    def run(rows: list[str]) -> int:
        total = 0
        for row in rows:
            text = row.lower()
            for pattern, replacement in _STEPS:
                text = pattern.sub(replacement, text)
            ids = [index.get(word, 1) for word in text.split()]
            total += len(ids)
        return total

    return run


def ours(tokenizer: Tokenizer) -> Callable[[list[str]], int]:
    """Through the port that training and serving use."""
    return lambda rows: sum(len(row.ids) for row in tokenizer.encode(rows, MAX_TOKENS))


def main() -> None:
    """Measure, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    rows = arguments.file.read_text().splitlines()[: arguments.rows] if arguments.file else made_up_rows(arguments.rows)
    basic = BasicEnglishTokenizer.build(rows, VOCABULARY_SIZE)
    contenders = {
        "basic_english (ours)": ours(basic),
        "basic_english (plain Python reference)": reference(dict(basic.vocabulary.index)),
    }
    for kind in ("wordlevel", "wordpiece", "bpe"):
        contenders[f"Hugging Face {kind}"] = ours(train_huggingface(kind, rows, vocabulary_size=VOCABULARY_SIZE))
    best_s = dict.fromkeys(contenders, float("inf"))
    tokens = {}
    for _ in range(arguments.repeats):
        for name, run in contenders.items():
            started_s = time.perf_counter()
            tokens[name] = run(rows)
            best_s[name] = min(best_s[name], time.perf_counter() - started_s)
    num_bytes = sum(len(row.encode()) for row in rows)
    base_s = best_s["basic_english (ours)"]
    print(f"{len(rows):,} rows, {num_bytes / 1e6:.2f} MB, one thread, best of {arguments.repeats}")
    print(f"{'':40} {'Mtokens/s':>10} {'MB/s':>8} {'time / ours':>12}")
    for name, seconds in best_s.items():
        print(
            f"{name:40} {tokens[name] / seconds / 1e6:10.2f} {num_bytes / seconds / 1e6:8.1f} {seconds / base_s:12.2f}"
        )


if __name__ == "__main__":
    main()
