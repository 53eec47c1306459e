# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the script that this project started from reaches, its bugs kept on purpose. A yardstick, used by nothing.

    python bench/train/seed_as_written.py --epochs 1 --save

Kept: (1) the LSTM reads across the documents of a batch, because batches are batch-major and batch_first is not set;
(2) the answer is read at the last column of padded rows; (3) the word vectors are loaded but never copied. Data,
tokens, hidden size, dropout, optimiser and batch size are those of recipes/bilstm-seed.yaml. After one epoch it
answers the majority class for every document (0.4947 on R8); after three it is below that (0.3837, seed 13), for what
it answers then depends on a document's neighbours and padding.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from run import RESULTS, default_data_dir
from torch import nn

from dragoman_models.rnn import pad
from dragoman_text import BasicEnglishTokenizer
from dragoman_trainer.batches import bucketed_batches
from dragoman_trainer.data import Corpus, load_corpus

BATCH_SIZE = 64
MAX_TOKENS = 1024


class SeedNetwork(nn.Module):
    """The seed's network, bugs 1 to 3 included."""

    def __init__(self, vocabulary_size: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 50, padding_idx=0)
        self.lstm = nn.LSTM(50, 256, num_layers=2, bidirectional=True, dropout=0.5)
        self.output = nn.Linear(512, num_labels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:  # noqa: N803 - shape suffix
        """Return logits; rows depend on each other and on their padding."""
        states, _ = self.lstm(self.dropout(self.embedding(ids_BT)))
        return self.output(self.dropout(states[:, -1, :]))


def train(corpus: Corpus, *, epochs: int, seed: int) -> float:
    """Return the test accuracy after so many epochs on the train part."""
    tokenizer = BasicEnglishTokenizer.build(corpus.train.texts, max_size=25_000)
    rows = [encoding.ids for encoding in tokenizer.encode(corpus.train.texts, MAX_TOKENS)]
    labels = torch.from_numpy(corpus.train.labels)
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    network = SeedNetwork(tokenizer.vocabulary_size, len(corpus.label_names))
    optimizer = torch.optim.Adam(network.parameters())
    lengths = np.array([row.size for row in rows])
    for _ in range(epochs):
        network.train()
        for chosen in bucketed_batches(lengths, BATCH_SIZE, generator):
            loss = nn.functional.cross_entropy(network(pad([rows[row] for row in chosen])[0]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    tests = [encoding.ids for encoding in tokenizer.encode(corpus.test.texts, MAX_TOKENS)]
    num_correct = 0
    with torch.inference_mode():
        for start in range(0, len(tests), BATCH_SIZE):
            answers = network(pad(tests[start : start + BATCH_SIZE])[0]).argmax(dim=1).numpy()
            num_correct += int((answers == corpus.test.labels[start : start + BATCH_SIZE]).sum())
    return num_correct / len(tests)


def main() -> None:
    """Train once and print the figures."""
    parser = argparse.ArgumentParser(description="Train the seed's script with its bugs and print its test accuracy.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    parser.add_argument("--save", action="store_true", help="write results/seed-as-written-EPOCHS.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    corpus = load_corpus("r8", arguments.data_dir, dev_fraction=0.1, dev_seed=0)
    started = time.perf_counter()
    accuracy = train(corpus, epochs=arguments.epochs, seed=arguments.seed)
    figures = {
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "test_accuracy": accuracy,
        "wall_s": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(figures))
    if arguments.save:
        path = RESULTS / f"seed-as-written-{arguments.epochs}.json"
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
