# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where jobs run, as one URL: `process://`, or `kubernetes://namespace?image=...`. Pure.

    text -> scheme, namespace, query -> ClusterSettings, or every mistake by the name of its key

A key that is not known, given twice where one counts, or out of range is refused: a misspelt limit is no limit.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PIN: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,400}@sha256:[0-9a-f]{64}")
_TAGGED: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,400}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")
_CPU: Final = re.compile(r"[1-9][0-9]{0,5}m?")
_CPU_REQUEST: Final = re.compile(rf"0|{_CPU.pattern}")
_BYTES: Final = re.compile(r"[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti)")
_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_RANGES: Final = {
    "workers": (1, 1024),
    "gpus": (0, 64),
    "deadline_s": (0, 518_400),
    "ttl_s": (3_600, 31_536_000),
    "backoff_limit": (0, 1_000),
    "user": (10_001, 2_147_483_647),
    "rendezvous_port": (1_024, 65_535),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint that the job's pods stand: `key=value:effect`, or `key:effect` for any value."""

    key: str
    effect: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Toleration":
        """Read the form above.

        Raises:
            ValueError: it has another form.
        """
        name, _, effect = text.rpartition(":")
        key, is_equal, value = name.partition("=")
        if not _is_qualified(key) or not _VALUE.fullmatch(value) or effect not in _EFFECTS:
            raise ValueError(f"toleration: {text[:80]!r} is not key=value:effect; effects are {', '.join(_EFFECTS)}")
        return cls(key=key, effect=effect, value=value if is_equal else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What every training Job of this launcher has in common."""

    namespace: str
    image: str
    """The trainer's image, by digest; by tag only with allow_tag (a test cluster that loads images by hand)."""
    allow_tag: bool = False
    service_account: str = "default"
    """Of the job's pods; its token is not mounted."""
    cpu: str = "1"
    cpu_request: str = ""
    """What the scheduler sets aside of it; empty: all. Less where jobs may share what others leave."""
    memory: str = "2Gi"
    scratch: str = "4Gi"
    """Of the working folder; /tmp has a quarter GiB of its own."""
    gpus: int = 0
    """A worker."""
    gpu_resource: str = "nvidia.com/gpu"
    workers: int = 1
    """Pods of a job. With more than one, torchrun's variables and a headless Service are there for the rendezvous."""
    rendezvous_port: int = 29_500
    data_claim: str = ""
    """The PersistentVolumeClaim with the data sets, mounted read-only; empty: they lie in the image, under /data."""
    ca_config_map: str = ""
    """A ConfigMap whose ca.crt the pods hold launcher and registry to; empty: they are called in plaintext."""
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str = ""
    queue: str = ""
    """The Kueue LocalQueue: jobs are made suspended, and Kueue lets them go."""
    deadline_s: int = 0
    """0: the launcher's max_job_s. Kubernetes counts it, from when a queue has let the job go."""
    ttl_s: int = 604_800
    """How long the ended Job stays in the cluster. A launcher that is away for longer no longer sees how it ended."""
    backoff_limit: int = 6
    """How often a pod may be lost or killed; an eviction does not count."""
    user: int = 65_532
    """Uid and gid of the trainer; its image has no other."""
    kubeconfig: str = field(default="", repr=False)
    """The file that says which cluster; empty: the one that this pod runs in."""

    def __post_init__(self) -> None:
        problems = [
            f"{name}: {getattr(self, name)} is not between {least} and {most}"
            for name, (least, most) in _RANGES.items()
            if not least <= getattr(self, name) <= most
        ]
        forms: list[tuple[str, re.Pattern[str], bool]] = [
            ("namespace", _LABEL, False),
            ("service_account", _SUBDOMAIN, False),
            ("cpu", _CPU, False),
            ("cpu_request", _CPU_REQUEST, True),
            ("memory", _BYTES, False),
            ("scratch", _BYTES, False),
            ("data_claim", _SUBDOMAIN, True),
            ("ca_config_map", _SUBDOMAIN, True),
            ("priority_class", _SUBDOMAIN, True),
            ("queue", _LABEL, True),
        ]
        for name, form, may_be_empty in forms:
            value = getattr(self, name)
            if not (may_be_empty and not value) and (len(value) > 253 or not form.fullmatch(value)):
                problems.append(f"{name}: {value[:80]!r} is not a valid one")
        if not _PIN.fullmatch(self.image) and not (self.allow_tag and _TAGGED.fullmatch(self.image)):
            problems.append(f"image: {self.image[:80]!r} must name a digest (name@sha256:...), or set allow_tag=true")
        if not _is_qualified(self.gpu_resource) or "/" not in self.gpu_resource:
            problems.append(f"gpu_resource: {self.gpu_resource[:80]!r} is not such as nvidia.com/gpu")
        for key, value in self.node_selector:
            if not _is_qualified(key) or not _VALUE.fullmatch(value):
                problems.append(f"node_selector: {f'{key}={value}'[:80]!r} is not key=value with a label's characters")
        if problems:
            raise ValueError("jobs_url: " + "; ".join(problems))


def parse_jobs_url(url: str) -> ClusterSettings | None:
    """Read where jobs run.

    Returns:
        The cluster's settings, or None for processes of this machine.

    Raises:
        ValueError: every problem, by key.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=100)
    except ValueError:
        raise ValueError("jobs_url: it does not parse as a URL") from None
    if parts.scheme == "process" and not (parts.netloc or parts.path or parts.query or parts.fragment):
        return None
    if parts.scheme != "kubernetes" or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError("jobs_url: must be process://, or kubernetes://namespace?image=...")
    values: dict[str, Any] = {"namespace": parts.netloc}
    kinds = {f.name: f.type for f in fields(ClusterSettings)} | {"toleration": "many", "node_selector": "many"}
    for key, text in pairs:
        if key not in kinds or key in {"namespace", "tolerations"}:
            known = sorted(kinds.keys() - {"namespace", "tolerations"})
            raise ValueError(f"jobs_url: {key[:80]!r} is not a key; known are {', '.join(known)}")
        if kinds[key] == "many":
            name, value = _repeated(key, text)
            values[name] = (*values.get(name, ()), value)
        elif key in values:
            raise ValueError(f"jobs_url: {key} appears twice")
        else:
            values[key] = _value(key, text)
    if "image" not in values:
        raise ValueError("jobs_url: image is missing: the trainer's image, by digest")
    return ClusterSettings(**values)


def _repeated(key: str, text: str) -> tuple[str, Any]:
    if key == "toleration":
        try:
            return "tolerations", Toleration.parse(text)
        except ValueError as error:
            raise ValueError(f"jobs_url: {error}") from None
    name, _, value = text.partition("=")
    return key, (name, value)


def _value(key: str, text: str) -> Any:
    if key in _RANGES or key == "gpus":
        if not re.fullmatch(r"[0-9]{1,10}", text):
            raise ValueError(f"jobs_url: {key}: {text[:80]!r} is not a whole number")
        return int(text)
    if key == "allow_tag":
        if text not in {"true", "false"}:
            raise ValueError(f"jobs_url: allow_tag: {text[:80]!r} is not true or false")
        return text == "true"
    return text


def _is_qualified(key: str) -> bool:
    if not _KEY.fullmatch(key):
        return False
    prefix, is_prefixed, _ = key.rpartition("/")
    return not is_prefixed or (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix) is not None)
