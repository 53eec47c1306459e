# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a training process is told by its environment, as DRAGOMAN_TRAINER_*."""

from dataclasses import dataclass
from pathlib import Path

from dragoman_models.device import AUTO, check_choice

PREFIX = "DRAGOMAN_TRAINER_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A run needs the first three. The others come from the launcher; without them the run is local."""

    recipe_file: Path
    """The recipe, in YAML."""

    data_dir: Path
    """Where data sets lie, one folder each."""

    output_dir: Path = Path()
    """Existing or new folder; the run leaves ``package/`` in it."""

    overrides: tuple[str, ...] = ()
    """``section.key=value`` pairs that replace values of the recipe, separated by commas."""

    check_only: bool = False
    """Check the recipe and that its data set is there, train nothing."""

    result_file: Path | None = None
    """Where to say how the run ended (dragoman.result/1); written last, atomically."""

    job_id: str = ""
    """The launcher's id of this run. Needed with a target."""

    tenant: str = ""
    """Whose run it is; for logs only, since the signed token decides."""

    model: str = ""
    """The model to publish to. Needed with registry_target."""

    token_file: Path | None = None
    """The job's token. Needed with a target, or pod_token_file."""

    pod_token_file: Path | None = None
    """The token by which the cluster names this pod; the launcher gives the job's token for it."""

    tls_ca_file: Path | None = None
    """Certificates in PEM that launcher and registry are held to; unset calls them in plaintext."""

    launcher_target: str = ""
    """host:port to report progress to; empty reports to the log alone."""

    registry_target: str = ""
    """host:port to publish to; empty leaves the package on disk."""

    checkpoint_interval_s: float = 60.0
    """How often a run with a registry saves its state there, so that the next process of the job goes on from it; 0
    never does. More often loses less to a kill, and costs an upload of about four times the weights each."""

    checkpoint_interval_steps: int = 0
    """The same by steps; 0 goes by time alone."""

    device: str = AUTO
    """What an rnn recipe trains on: `cpu`; `cuda`, without which it fails; or `auto`, CUDA where torch sees a device.
    A linear recipe trains on the CPU in any case."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    def __post_init__(self) -> None:
        """Refuse half a connection, and what cannot work.

        Raises:
            ValueError: a target without what it needs, or a device that is none.
        """
        check_choice(self.device)
        if self.checkpoint_interval_s < 0 or self.checkpoint_interval_steps < 0:
            raise ValueError("CHECKPOINT_INTERVAL_S and CHECKPOINT_INTERVAL_STEPS must not be negative")
        has_token = self.token_file is not None or self.pod_token_file is not None
        if (self.launcher_target or self.registry_target) and not (has_token and self.job_id):
            raise ValueError("LAUNCHER_TARGET and REGISTRY_TARGET need TOKEN_FILE (or POD_TOKEN_FILE) and JOB_ID")
        if self.token_file is not None and self.pod_token_file is not None:
            raise ValueError("TOKEN_FILE and POD_TOKEN_FILE: set one of them")
        if self.pod_token_file is not None and not self.launcher_target:
            raise ValueError("POD_TOKEN_FILE needs LAUNCHER_TARGET, where it is exchanged")
        if self.registry_target and not self.model:
            raise ValueError("REGISTRY_TARGET needs MODEL")
