# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The environment of a training job: an allow-list of the launcher's, and what the job is told. Pure.

The launcher's own variables may hold secrets; a job is somebody's code on somebody's recipe, so it gets none of them by
accident. What it may do is in its token, in a file that only its owner reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_folder import JobFolder

PREFIX: Final = "DRAGOMAN_TRAINER_"
JOB_ID_VARIABLE: Final = PREFIX + "JOB_ID"

INHERITED: Final = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TOKENIZERS_PARALLELISM",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a job finds the rest of the platform, and how often it saves its state there."""

    data_dir: str
    launcher_target: str
    registry_target: str
    tls_ca_file: str = ""
    """What the job trusts when it calls them; empty is plaintext. A pod has a file of its own (ca_config_map)."""
    checkpoint_interval_s: float = 60.0


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child may know of this process's environment."""
    return {name: environ[name] for name in sorted(INHERITED & environ.keys())} | {"PYTHONUNBUFFERED": "1"}


def mark(job_id: str) -> bytes:
    """The entry by which the processes of a job are known in /proc."""
    return f"{JOB_ID_VARIABLE}={job_id}".encode()


def job_environment(job: TrainingJob, folder: JobFolder, places: Places, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a job's process."""
    told = {
        "JOB_ID": job.id,
        "TENANT": job.spec.tenant,
        "MODEL": job.spec.model,
        "RECIPE_FILE": str(folder.recipe),
        "DATA_DIR": places.data_dir,
        "OUTPUT_DIR": str(folder.output),
        "RESULT_FILE": str(folder.result),
        "TOKEN_FILE": str(folder.token),
        "LAUNCHER_TARGET": places.launcher_target,
        "REGISTRY_TARGET": places.registry_target,
        "CHECKPOINT_INTERVAL_S": f"{places.checkpoint_interval_s:g}",
    }
    if places.tls_ca_file:
        told["TLS_CA_FILE"] = places.tls_ca_file
    return inherited(environ) | {PREFIX + name: value for name, value in told.items()}


def check_environment(
    recipe_file: Path, result_file: Path, data_dir: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a trainer that only checks a recipe."""
    return inherited(environ) | {
        PREFIX + "CHECK_ONLY": "1",
        PREFIX + "RECIPE_FILE": str(recipe_file),
        PREFIX + "RESULT_FILE": str(result_file),
        PREFIX + "DATA_DIR": str(data_dir),
    }
