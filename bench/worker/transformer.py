# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The transformer architecture beside the transformers library: start, memory and speed of one process each.

Random weights of MiniLM-L6's shape, one thread, each side in fresh processes: ``python bench/worker/transformer.py``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE = {"vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
REST = {"intermediate_size": 1536, "max_position_embeddings": 512, "id2label": dict(enumerate("abcde"))}
ROWS = {"1 row of 128": [128], "32 rows of 128": [128] * 32, "32 rows of 8 to 256": list(range(8, 264, 8))}


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(side: str, folder: Path) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    before_s, before_mib = time.process_time(), rss_mib()
    if side == "ours":
        from dragoman_models import transformer
        from dragoman_models.transformer_shape import TransformerHyperparameters

        values = TransformerHyperparameters(**json.loads((folder / "shape.json").read_text())).to_mapping()
        classifier = transformer.load(values, len(REST["id2label"]), (folder / "ours.safetensors").read_bytes())
        run = classifier.logits
    else:
        from transformers.models.bert.modeling_bert import BertForSequenceClassification

        model = BertForSequenceClassification.from_pretrained(folder).eval()

        def run(batch: list[np.ndarray]) -> np.ndarray:
            width = max(row.size for row in batch)
            ids, mask = np.zeros((2, len(batch), width), dtype=np.int64)
            for index, row in enumerate(batch):
                ids[index, : row.size], mask[index, : row.size] = row, 1
            with torch.inference_mode():
                return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()

    found = {"start, s of CPU": time.process_time() - before_s, "memory, MiB": rss_mib() - before_mib}
    generator = np.random.default_rng(0)
    for name, lengths in ROWS.items():
        batch = [generator.integers(5, 30000, length).astype(np.int32) for length in lengths]
        times = []
        for _ in range(5):
            started_s = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - started_s)
        found[f"{name}, ms"] = min(times) * 1000
    return found


def make(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from dragoman_models.tensors import write_tensors
    from dragoman_models.transformer_import import convert, parse_source

    model = BertForSequenceClassification._from_config(BertConfig(**SHAPE, **REST))  # noqa: SLF001 - no public one
    model.save_pretrained(folder)
    source = parse_source((folder / "config.json").read_bytes())
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    (folder / "ours.safetensors").write_bytes(write_tensors(convert(source, state.__getitem__)))
    (folder / "shape.json").write_text(json.dumps(source.hyperparameters.to_mapping()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("ours", "transformers"))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        rounds = {"ours": [], "transformers": []}
        for _ in range(arguments.rounds):
            for side, results in rounds.items():
                command = [sys.executable, __file__, "--side", side, "--folder", name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'beside torch':24}{'ours':>10}{'transformers':>14}")
    for key in rounds["ours"][0]:
        ours, theirs = (statistics.median(result[key] for result in rounds[side]) for side in rounds)
        print(f"{key:24}{ours:10.2f}{theirs:14.2f}")


if __name__ == "__main__":
    main()
