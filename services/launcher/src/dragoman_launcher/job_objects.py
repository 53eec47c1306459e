# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A training job as Kubernetes objects: plain dicts, from the job and the settings alone. Pure.

    TrainingJob, ClusterSettings, Places, record
        -> Job (Indexed) + headless Service (more than one worker)
    job id -> stop mark: a Job without pods that says "this job must not run (any more)", for good

Names are the job's id, which is a digest of (tenant, request id): whoever renders the same request renders the same
names, and creating them is idempotent. No object holds a credential: a pod gets, from the kubelet, a token that says
which pod it is, good for the launcher alone, and the launcher gives it its job's token for that (pod_tokens.py). Every
pod keeps to the PodSecurity standard "restricted", and gets no credential that the cluster itself accepts.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from dragoman_launcher.job import TrainingJob
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.trainer_environment import PREFIX, Places

Manifest = dict[str, Any]

DOMAIN: Final = "dragoman.dev"
JOB_LABEL: Final = f"{DOMAIN}/job"
ROLE_LABEL: Final = f"{DOMAIN}/role"
TENANT_LABEL: Final = f"{DOMAIN}/tenant"
RECORD_ANNOTATION: Final = f"{DOMAIN}/record"
RECIPE_ANNOTATION: Final = f"{DOMAIN}/recipe"
"""Of the pods, which read it as a file. Whoever may read the Job may read the recipe; it is no secret."""
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
INDEX_LABEL: Final = "batch.kubernetes.io/job-completion-index"
MANAGED: Final = {"app.kubernetes.io/managed-by": "dragoman-launcher"}
SELECTOR: Final = ",".join(f"{name}={value}" for name, value in MANAGED.items())
CONTAINER: Final = "trainer"
STOP_SUFFIX: Final = "-stop"

POD_AUDIENCE: Final = "dragoman-launcher"
"""Whom a pod's token is for: no API server takes it."""
POD_TOKEN_LIFE_S: Final = 600
"""The shortest that Kubernetes allows; the kubelet renews the file."""
MAX_RECIPE_BYTES: Final = 200 * 1024
"""All annotations of a pod together may have 256 KiB."""

FINAL_EXIT_CODES: Final = (1, 2, 126, 127)
"""The trainer says that it failed, its settings are wrong, its command cannot run: a repetition would do the same.
Not 3 (it was told to stop): a pod that is deleted under it ends so, and its job must go on."""

_GIVEN: Final = "/run/dragoman/job"
_RECIPE_FILE: Final = "recipe.yaml"
_POD_TOKEN_FILE: Final = "pod-token"  # noqa: S105  a file's name
_AUTHORITIES: Final = "/run/dragoman/ca"
_CA_FILE: Final = "ca.crt"
_SCRATCH: Final = "/scratch"
_TMP_SIZE: Final = "256Mi"
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObjects:
    """In the order of their creation."""

    service: Manifest | None
    job: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerms:
    """What the launcher decides for each of its jobs alike."""

    command: tuple[str, ...]
    """The trainer; empty: what its image starts."""
    max_job_s: int
    grace_s: int
    """From SIGTERM to SIGKILL."""


def job_objects(
    job: TrainingJob, cluster: ClusterSettings, terms: JobTerms, places: Places, *, record: str
) -> JobObjects:
    """Render a job.

    Args:
        job: a job that waits.
        cluster: what all jobs have in common.
        terms: the launcher's limits.
        places: where the job finds the platform; its data_dir is not used, a pod has its own.
        record: the job's record as text, from which a launcher that lost its store finds the job again.
    """
    meta = _metadata(job.id, cluster, job.spec.tenant, role="training")
    queue = {QUEUE_LABEL: cluster.queue} if cluster.queue else {}
    spec: Manifest = {
        "completionMode": "Indexed",
        "completions": cluster.workers,
        "parallelism": cluster.workers,
        "backoffLimit": cluster.backoff_limit,
        "activeDeadlineSeconds": cluster.deadline_s or terms.max_job_s,
        "ttlSecondsAfterFinished": cluster.ttl_s,
        # A pod that still ends and its successor would both train, and both publish.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            # The first rule that fits counts: an evicted trainer may end with any code.
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [*FINAL_EXIT_CODES]},
                },
            ]
        },
        "suspend": bool(cluster.queue),
        "template": {
            "metadata": {
                "labels": meta["labels"],
                "annotations": _annotations(job) | {RECIPE_ANNOTATION: job.spec.effective_recipe},
            },
            "spec": _pod_spec(job, cluster, terms, places),
        },
    }
    return JobObjects(
        service=_service(meta, cluster) if cluster.workers > 1 else None,
        job={
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta
            | {
                "labels": meta["labels"] | queue,
                "annotations": _annotations(job) | ({RECORD_ANNOTATION: record} if record else {}),
            },
            "spec": spec,
        },
    )


def stop_mark(job_id: str, cluster: ClusterSettings) -> Manifest:
    """A Job that needs no pod, so that it is complete at once, and goes with its TTL."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job_id, cluster, None, role="stop") | {"name": job_id + STOP_SUFFIX},
        "spec": {
            "completionMode": "Indexed",
            "completions": 0,
            "parallelism": 0,
            "ttlSecondsAfterFinished": cluster.ttl_s,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": _pod_security(cluster),
                    "containers": [
                        {
                            "name": CONTAINER,
                            "image": cluster.image,
                            "command": ["false"],
                            "securityContext": _container_security(),
                            "resources": _resources(cluster),
                        }
                    ],
                },
            },
        },
    }


def _metadata(job_id: str, cluster: ClusterSettings, tenant: str | None, *, role: str) -> Manifest:
    labels = MANAGED | {"app.kubernetes.io/name": "dragoman-trainer", JOB_LABEL: job_id, ROLE_LABEL: role}
    if tenant is not None:
        labels[TENANT_LABEL] = _label_value(tenant)
    return {"name": job_id, "namespace": cluster.namespace, "labels": labels}


def _annotations(job: TrainingJob) -> dict[str, str]:
    return {
        f"{DOMAIN}/tenant": job.spec.tenant,
        f"{DOMAIN}/model": job.spec.model,
        f"{DOMAIN}/request-id-sha256": sha256(job.spec.request_id.encode()).hexdigest(),
    }


def _label_value(text: str) -> str:
    """The text itself where a label can hold it, else its digest; never one for the other."""
    if _LABEL_VALUE.fullmatch(text) and not text.startswith("sha256-"):
        return text
    return "sha256-" + sha256(text.encode()).hexdigest()[:48]


def _service(meta: Manifest, cluster: ClusterSettings) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "clusterIP": "None",
            # The first worker must be found before anything in it answers.
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: meta["name"]},
            "ports": [
                {
                    "name": "rendezvous",
                    "port": cluster.rendezvous_port,
                    "targetPort": cluster.rendezvous_port,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _pod_spec(job: TrainingJob, cluster: ClusterSettings, terms: JobTerms, places: Places) -> Manifest:
    mounts: list[Manifest] = [
        {"name": "job", "mountPath": _GIVEN, "readOnly": True},
        {"name": "scratch", "mountPath": _SCRATCH},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a volume of the pod's own
    ]
    volumes: list[Manifest] = [
        {"name": "job", "projected": {"defaultMode": 0o440, "sources": _given()}},
        {"name": "scratch", "emptyDir": {"sizeLimit": cluster.scratch}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}},
    ]
    if cluster.ca_config_map:
        mounts.append({"name": "ca", "mountPath": _AUTHORITIES, "readOnly": True})
        items = [{"key": _CA_FILE, "path": _CA_FILE}]
        volumes.append({"name": "ca", "configMap": {"name": cluster.ca_config_map, "items": items}})
    if cluster.data_claim:
        mounts.append({"name": "data", "mountPath": "/data", "readOnly": True})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": cluster.data_claim, "readOnly": True}})
    spec: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": cluster.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": terms.grace_s,
        "securityContext": _pod_security(cluster),
        "containers": [
            {
                "name": CONTAINER,
                "image": cluster.image,
                "imagePullPolicy": "IfNotPresent",
                "workingDir": _SCRATCH,
                "env": _environment(job, cluster, places),
                "resources": _resources(cluster),
                "securityContext": _container_security(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if terms.command:
        spec["containers"][0]["command"] = [*terms.command]
    if cluster.workers > 1:
        spec["subdomain"] = job.id
    if cluster.node_selector:
        spec["nodeSelector"] = dict(cluster.node_selector)
    if cluster.tolerations:
        spec["tolerations"] = [
            {"key": t.key, "effect": t.effect}
            | ({"operator": "Exists"} if t.value is None else {"operator": "Equal", "value": t.value})
            for t in cluster.tolerations
        ]
    if cluster.priority_class:
        spec["priorityClassName"] = cluster.priority_class
    return spec


def _given() -> list[Manifest]:
    recipe = {"path": _RECIPE_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{RECIPE_ANNOTATION}']"}}
    token = {"audience": POD_AUDIENCE, "expirationSeconds": POD_TOKEN_LIFE_S, "path": _POD_TOKEN_FILE}
    return [{"serviceAccountToken": token}, {"downwardAPI": {"items": [recipe]}}]


def _environment(job: TrainingJob, cluster: ClusterSettings, places: Places) -> list[Manifest]:
    told = {
        "JOB_ID": job.id,
        "TENANT": job.spec.tenant,
        "MODEL": job.spec.model,
        "RECIPE_FILE": f"{_GIVEN}/{_RECIPE_FILE}",
        "DATA_DIR": "/data",
        "OUTPUT_DIR": f"{_SCRATCH}/output",
        "RESULT_FILE": f"{_SCRATCH}/result.json",
        "POD_TOKEN_FILE": f"{_GIVEN}/{_POD_TOKEN_FILE}",
        "LAUNCHER_TARGET": places.launcher_target,
        "REGISTRY_TARGET": places.registry_target,
        "CHECKPOINT_INTERVAL_S": f"{places.checkpoint_interval_s:g}",
    }
    if cluster.ca_config_map:
        told["TLS_CA_FILE"] = f"{_AUTHORITIES}/{_CA_FILE}"
    values = {PREFIX + name: value for name, value in told.items()}
    values |= {"HOME": "/tmp", "TMPDIR": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108  a volume of the pod's own
    environment: list[Manifest] = [{"name": name, "value": value} for name, value in values.items()]
    if cluster.workers > 1:
        torchrun = {
            "PET_NNODES": str(cluster.workers),
            "PET_NPROC_PER_NODE": str(max(1, cluster.gpus)),
            "PET_MASTER_ADDR": f"{job.id}-0.{job.id}",
            "PET_MASTER_PORT": str(cluster.rendezvous_port),
        }
        environment += [{"name": name, "value": value} for name, value in torchrun.items()]
        index = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_LABEL}']"}}
        environment.append({"name": "PET_NODE_RANK", "valueFrom": index})
    return environment


def _resources(cluster: ClusterSettings) -> Manifest:
    # Requests are limits, but for a CPU that may be shared: a job is not the first to go when memory is short.
    amounts = {"cpu": cluster.cpu, "memory": cluster.memory, "ephemeral-storage": cluster.scratch}
    if cluster.gpus:
        amounts[cluster.gpu_resource] = str(cluster.gpus)
    return {"requests": amounts | ({"cpu": cluster.cpu_request} if cluster.cpu_request else {}), "limits": amounts}


def _pod_security(cluster: ClusterSettings) -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": cluster.user,
        "runAsGroup": cluster.user,
        "fsGroup": cluster.user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
