# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""How good is a recipe, and how long does it take? One training process per seed, as a platform's job would run it.

    python bench/train/run.py services/trainer/recipes/bilstm.yaml --seeds 13 17 23 29 31 --save

Prints one JSON line per seed and one with mean, standard deviation and minimum. --save also writes them to
results/<recipe>.json beside this file. Data sets must be in the cache (dragoman data get r8 glove-50d).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
KEPT = ("test_accuracy", "test_macro_f1", "test_ece", "dev_accuracy", "train_s", "total_s", "weights_sha256")


def default_data_dir() -> Path:
    """Return where ``dragoman data get`` puts data sets."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DRAGOMAN_CACHE") or cache / "dragoman") / "data"


def train(recipe: Path, data_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Run one training process and return its figures; wall_s includes interpreter start and imports."""
    with tempfile.TemporaryDirectory() as output:
        environment = os.environ | {
            "DRAGOMAN_TRAINER_RECIPE_FILE": str(recipe),
            "DRAGOMAN_TRAINER_DATA_DIR": str(data_dir),
            "DRAGOMAN_TRAINER_OUTPUT_DIR": output,
            "DRAGOMAN_TRAINER_OVERRIDES": ",".join(overrides),
        }
        started = time.perf_counter()
        command = [sys.executable, "-m", "dragoman_trainer"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        wall_s = time.perf_counter() - started
    figures = json.loads(done.stdout.splitlines()[-1])
    return {key: figures[key] for key in KEPT} | {"wall_s": round(wall_s, 1)}


def main() -> None:
    """Train per seed, print, and save if asked."""
    parser = argparse.ArgumentParser(description="Train a recipe once per seed and print the figures as JSON.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 17, 23, 29, 31])
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; the wall times then say less")
    parser.add_argument("--save", action="store_true", help="write results/<recipe>.json")
    arguments = parser.parse_args()

    def run_seed(seed: int) -> dict[str, Any]:
        run = {"seed": seed} | train(arguments.recipe, arguments.data_dir, [*arguments.overrides, f"seed={seed}"])
        print(json.dumps(run), flush=True)
        return run

    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(run_seed, arguments.seeds))
    accuracies = [run["test_accuracy"] for run in runs]
    summary = {
        "mean": round(statistics.mean(accuracies), 5),
        "std": round(statistics.stdev(accuracies), 5) if len(accuracies) > 1 else None,
        "min": round(min(accuracies), 5),
        "max_wall_s": max(run["wall_s"] for run in runs),
    }
    print(json.dumps(summary), flush=True)
    if arguments.save:
        content = {
            "recipe": arguments.recipe.name,
            "overrides": arguments.overrides,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "runs": runs,
            "test_accuracy": summary,
        }
        (RESULTS / f"{arguments.recipe.stem}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
