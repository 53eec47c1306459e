# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Secrets and ConfigMaps of one namespace, through the API server.

Objects are made by server-side apply and not by POST: a Role can then name the objects that may be made, because the
server knows an applied object's name when it looks at the rights. Only what was found absent is applied.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from dragoman_client.cluster.ports import Files
from dragoman_common.errors import (
    AlreadyExistsError,
    DragomanError,
    FailedPreconditionError,
    PermissionDeniedError,
    UnavailableError,
)

_MANAGER: Final = "dragoman"
_TIMEOUT_S: Final = 20
_PLURAL: Final = {"Secret": "secret", "ConfigMap": "config_map"}


def api_client(kubeconfig: str = "") -> Any:
    """A connection as the kubeconfig says, or as the pod that this process runs in.

    Raises:
        FailedPreconditionError: neither works.
    """
    load: Any = config
    configuration = client.Configuration()
    try:
        if kubeconfig:
            load.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        else:
            load.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise FailedPreconditionError(f"the cluster is not known ({error}): give --kubeconfig") from error
    return client.ApiClient(configuration)


class KubernetesObjects:
    """Asks one server about one namespace; what it makes gets the labels.

    Args:
        api: a CoreV1Api; the package gives its methods no types.
        namespace: where the objects are.
        labels: of everything that is made.
    """

    def __init__(self, api: Any, namespace: str, labels: Mapping[str, str]) -> None:
        self._api = api
        self._namespace = namespace
        self._labels = dict(labels)

    @classmethod
    def connect(cls, namespace: str, labels: Mapping[str, str], *, kubeconfig: str = "") -> "KubernetesObjects":
        """Read who we are: from the kubeconfig, or as the pod that this process runs in.

        Raises:
            FailedPreconditionError: neither works.
        """
        return cls(client.CoreV1Api(api_client(kubeconfig)), namespace, labels)

    def read(self, kind: str, name: str) -> Files | None:
        """See the port."""
        try:
            found = self._call("read", kind, name)
        except _AbsentError:
            return None
        if kind == "Secret":
            return {key: b64decode(text) for key, text in (found.data or {}).items()}
        held = {key: text.encode() for key, text in (found.data or {}).items()}
        return held | {key: b64decode(text) for key, text in (found.binary_data or {}).items()}

    def create(self, kind: str, name: str, files: Files, *, is_final: bool = True) -> None:
        """See the port."""
        self._apply(kind, name, files, {"immutable": True} if is_final else {})

    def replace(self, kind: str, name: str, files: Files) -> None:
        """See the port."""
        self._apply(kind, name, files, {}, force=True)

    def _apply(self, kind: str, name: str, files: Files, extra: Mapping[str, bool], *, force: bool = False) -> None:
        body = {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self._namespace, "labels": self._labels},
            **({"type": _secret_type(files)} if kind == "Secret" else {}),
            "data": {
                key: b64encode(value).decode() if kind == "Secret" else value.decode() for key, value in files.items()
            },
            **extra,
        }
        self._call(
            "patch",
            kind,
            name,
            body=body,
            field_manager=_MANAGER,
            force=force,
            _content_type="application/apply-patch+yaml",
        )

    def _call(self, verb: str, kind: str, name: str, **given: object) -> Any:
        method = getattr(self._api, f"{verb}_namespaced_{_PLURAL[kind]}")
        try:
            return method(name, self._namespace, _request_timeout=_TIMEOUT_S, **given)
        except ApiException as error:
            raise _meant(error, kind, name) from error
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"the API server did not answer about {kind} {name}: {error}") from error


class _AbsentError(DragomanError):
    """There is no such object."""


def _secret_type(files: Files) -> str:
    return "kubernetes.io/tls" if {"tls.crt", "tls.key"} <= files.keys() else "Opaque"


def _meant(error: ApiException, kind: str, name: str) -> DragomanError:
    try:
        said = json.loads(error.body or "{}").get("message", "")
    except ValueError:
        said = str(error.body)
    said = said or error.reason
    if error.status == 404:
        return _AbsentError(f"{kind} {name}: {said}")
    if error.status in (401, 403):
        return PermissionDeniedError(f"{kind} {name}: {said}")
    if error.status in (409, 422):
        # Somebody made it since it was found absent, and it can no longer be changed.
        return AlreadyExistsError(f"{kind} {name}: {said}")
    return UnavailableError(f"{kind} {name}: {said}")
