# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher's own numbers: how many jobs wait, run and are held now, and what became of how many since it began."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from dragoman_launcher.catalogue import JobCatalogue
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.queue import JobQueue


def num_held(catalogue: JobCatalogue) -> int:
    """Jobs that were started and wait for the cluster, as far as this launcher has seen."""
    return sum(
        not job.is_ended and job.progress is not None and job.progress.waits_for != "" for job in catalogue.all()
    )


def measure(catalogue: JobCatalogue, queue: JobQueue, meter: Meter) -> None:
    """Count from now on: call it after the kept jobs were loaded, so that they are not counted again."""
    changes = meter.create_counter(
        "dragoman.launcher.job_changes", unit="1", description="Kept changes of jobs, by the state after it"
    )

    def changed(job: TrainingJob) -> None:
        changes.add(1, {"state": job.state.value})

    def observed(number: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(number())]

    catalogue.listen(changed)
    meter.create_observable_gauge(
        "dragoman.launcher.jobs_pending",
        [observed(lambda: queue.num_pending)],
        unit="1",
        description="Jobs that wait: when it grows, work comes in faster than it gets done",
    )
    meter.create_observable_gauge(
        "dragoman.launcher.jobs_running",
        [observed(lambda: queue.num_running)],
        unit="1",
        description="Jobs that were started and have not ended, also those that wait for the cluster",
    )
    meter.create_observable_gauge(
        "dragoman.launcher.jobs_held",
        [observed(lambda: num_held(catalogue))],
        unit="1",
        description="Jobs that were started and wait for the cluster: for a quota, a GPU, an image",
    )
