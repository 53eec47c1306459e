# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A pod's word for its job's: which pod calls is known (pod_tokens.py), whose pod it is the cluster says.

    PodName -> pod of that uid -> its controller, a Job of ours of that uid -> job that goes on -> the job's token

Nothing of it is kept: a pod that asks again is looked up again, and an ended or cancelled job gets no token any more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from dragoman_common.errors import FailedPreconditionError, UnauthenticatedError
from dragoman_launcher.catalogue import JobCatalogue, JobNotFoundError
from dragoman_launcher.job import TrainingJob
from dragoman_launcher.job_objects import MANAGED, ROLE_LABEL, Manifest

POD: Final = "pod"
"""The identity of a caller that the cluster names; it may exchange its token and nothing else."""


@dataclass(frozen=True, slots=True)
class PodName:
    """One pod, for good: a later one of the same name has another uid."""

    name: str
    uid: str

    @classmethod
    def parse(cls, text: str) -> "PodName":
        """Read what str() wrote.

        Raises:
            UnauthenticatedError: it is something else.
        """
        name, slash, uid = text.partition("/")
        if not (name and slash and uid):
            raise UnauthenticatedError("the caller is not a pod")
        return cls(name, uid)

    def __str__(self) -> str:
        return f"{self.name}/{self.uid}"


class Objects(Protocol):
    """The part of ClusterApi that is needed here."""

    async def get(self, kind: str, name: str) -> Manifest | None:
        """See ClusterApi."""
        ...


class PodTokenExchange:
    """Gives pods their jobs' tokens.

    Args:
        api: the cluster.
        catalogue: the jobs.
        token: mints a job's token, and says when it ends.
    """

    def __init__(
        self, *, api: Objects, catalogue: JobCatalogue, token: Callable[[TrainingJob], tuple[str, datetime]]
    ) -> None:
        self._api = api
        self._catalogue = catalogue
        self._token = token

    async def exchange(self, pod: PodName) -> tuple[str, datetime]:
        """Return the token of the pod's job, and its end.

        Raises:
            JobNotFoundError: the pod has gone, or belongs to no job of this launcher.
            FailedPreconditionError: the job has ended, or is to stop.
            UnavailableError: the cluster does not answer.
        """
        job_id = await self._job_of(pod)
        job = None if job_id is None else await self._catalogue.look(job_id)
        if job is None:
            raise JobNotFoundError(f"Pod {pod.name} belongs to no job of this launcher.")
        if job.is_ended or job.is_cancelled:
            raise FailedPreconditionError(f"Job {job.id} has ended or was cancelled; it gets no token any more.")
        return self._token(job)

    async def _job_of(self, pod: PodName) -> str | None:
        found = await self._api.get("Pod", pod.name)
        if found is None or found["metadata"].get("uid") != pod.uid:
            return None
        for owner in found["metadata"].get("ownerReferences") or []:
            if owner.get("kind") != "Job" or not owner.get("controller"):
                continue
            job = await self._api.get("Job", str(owner.get("name")))
            # A pod says of itself what it likes; that Job must be there, be ours, and be the one that is meant.
            if job is None or job["metadata"].get("uid") != owner.get("uid"):
                return None
            labels = job["metadata"].get("labels") or {}
            if (MANAGED | {ROLE_LABEL: "training"}).items() <= labels.items():
                return str(job["metadata"]["name"])
        return None
