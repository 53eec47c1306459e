# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The few things that the launcher asks of a Kubernetes API server, in plain dicts.

    create, get, replace, delete, list of objects in one namespace; watch; a pod's log; the keys of its tokens

Owns the connection, its credentials, and what an answer's status means: `None` or False for what is absent or there
already, GoneError for a version too old to watch from, RefusedError for what repeating does not cure, UnavailableError
for the rest. Knows nothing of training.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from dragoman_common.errors import FailedPreconditionError, UnavailableError
from dragoman_launcher.job_objects import Manifest

CALL_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 290
"""How long the server keeps a watch; a silent connection is given up a little later."""
MAX_SAID_CHARS: Final = 500

_PATHS: Final = {
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}
_LATER: Final = frozenset({401, 403, 408, 429})
"""A credential that has just been rotated counts as "later", too, and so does a right to read that was taken away: no
job is given up for it."""


class GoneError(Exception):
    """That resource version is too old: list again."""


class RefusedError(Exception):
    """The server does not take this; the text is its own."""


class AbsentError(RefusedError):
    """There is no such object."""


class ClusterApi:
    """Asks one server about one namespace.

    Args:
        api: an ApiClient; the package gives its methods no types.
        namespace: where the objects are.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self._paths = {kind: path.format(namespace) for kind, path in _PATHS.items()}

    @classmethod
    async def open(cls, namespace: str, *, kubeconfig: str = "") -> "ClusterApi":
        """Read who we are: from the kubeconfig, or as the pod that this process runs in.

        Raises:
            FailedPreconditionError: neither works.
        """
        load: Any = config
        configuration = client.Configuration()
        # Each running job holds a connection for its log: a limit would one day make every other call wait for a job.
        configuration.connection_pool_maxsize = 0
        try:
            if kubeconfig:
                await load.load_kube_config(
                    config_file=kubeconfig, client_configuration=configuration, persist_config=False
                )
            else:
                load.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise FailedPreconditionError(
                f"The Kubernetes cluster is not known ({error}): run as a pod, or name a kubeconfig in jobs_url."
            ) from error
        return cls(client.ApiClient(configuration), namespace)

    async def close(self) -> None:
        await self._api.close()

    async def create(self, manifest: Manifest) -> bool:
        """Make an object. False: one of its name is there."""
        status, said = await self._ask("POST", self._paths[manifest["kind"]], body=manifest)
        if status == 409:
            return False
        if status == 403:
            # A quota, or a right that we do not have; an admission that may change its mind is not waited for.
            raise RefusedError(_said(status, said))
        _check(status, said)
        return True

    async def get(self, kind: str, name: str) -> Manifest | None:
        """The object as it is now, or None."""
        status, said = await self._ask("GET", f"{self._paths[kind]}/{name}")
        if status == 404:
            return None
        _check(status, said)
        return said

    async def replace(self, manifest: Manifest) -> Manifest | None:
        """Change an object that is as it was read; None when it is not any more, and nothing was changed."""
        path = f"{self._paths[manifest['kind']]}/{manifest['metadata']['name']}"
        status, said = await self._ask("PUT", path, body=manifest)
        if status in {404, 409}:
            return None
        if status == 403:
            raise RefusedError(_said(status, said))
        _check(status, said)
        return said

    async def delete(self, kind: str, name: str, *, wait_for_pods: bool = False) -> None:
        """Begin to delete an object, if it is there; with `wait_for_pods` it is seen until its pods have gone."""
        policy = "Foreground" if wait_for_pods else "Background"
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        status, said = await self._ask("DELETE", f"{self._paths[kind]}/{name}", body=body)
        if status != 404:
            _check(status, said)

    async def list(self, kind: str, selector: str) -> Manifest:
        """All objects of a label selector, and the resource version to watch from."""
        status, said = await self._ask("GET", self._paths[kind], query={"labelSelector": selector})
        _check(status, said)
        return said

    async def watch(self, kind: str, selector: str, version: str) -> AsyncIterator[Manifest]:
        """What changes after a resource version, until the server ends it: ADDED, MODIFIED, DELETED, BOOKMARK.

        Raises:
            GoneError: the version is too old.
            UnavailableError: the connection broke.
        """
        query = {
            "labelSelector": selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        async with self._stream(self._paths[kind], query, silence_s=WATCH_S + 30) as response:
            async for line in response.content:
                event = _parsed(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    _check(int(status.get("code", 500)), status)
                    raise UnavailableError("The Kubernetes API server ended a watch.")
                yield event

    async def log(self, pod: str, container: str) -> AsyncGenerator[bytes, None]:
        """A container's log from its start, in pieces, until it ends. Nothing when the pod has gone.

        Raises:
            UnavailableError: the connection broke, or the container has not started.
        """
        query = {"container": container, "follow": "true"}
        try:
            async with self._stream(f"{self._paths['Pod']}/{pod}/log", query, silence_s=None) as response:
                async for piece in response.content.iter_any():
                    yield piece
        except AbsentError:
            return
        except RefusedError as error:
            # "container is waiting to start" is a 400.
            raise UnavailableError(f"The log cannot be read yet ({error}).") from error

    async def token_keys(self) -> tuple[str, Manifest]:
        """Who signs the cluster's service account tokens: the issuer's name, and its keys as a JWK set.

        Every service account may ask, by the cluster role system:service-account-issuer-discovery.
        """
        status, said = await self._ask("GET", "/.well-known/openid-configuration")
        _check(status, said)
        status, keys = await self._ask("GET", "/openid/v1/jwks")
        _check(status, keys)
        return str(said.get("issuer") or ""), keys

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Manifest | None = None
    ) -> tuple[int, Manifest]:
        limits = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        try:
            response = await self._send(method, path, query or {}, body, limits)
            return response.status, _parsed(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"The Kubernetes API server does not answer ({error!r}).") from error

    @asynccontextmanager
    async def _stream(
        self, path: str, query: Mapping[str, str], *, silence_s: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S, sock_read=silence_s)
        try:
            response = await self._send("GET", path, query, None, limits)
            try:
                if response.status != 200:
                    _check(response.status, _parsed(await response.read()))
                yield response
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"The connection to the Kubernetes API server broke ({error!r}).") from error

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Manifest | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        # The token keys come as the second, and as nothing else.
        headers: dict[str, str] = {"Accept": "application/json, application/jwk-set+json"}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path + ("?" + urlencode(query) if query else "")
        answer = await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


def _check(status: int, said: Manifest) -> None:
    if 200 <= status < 300:
        return
    text = _said(status, said)
    if status == 410:
        raise GoneError(text)
    if status == 404:
        raise AbsentError(text)
    if 400 <= status < 500 and status not in _LATER:
        raise RefusedError(text)
    raise UnavailableError(f"The Kubernetes API server says: {text}")


def _said(status: int, said: Manifest) -> str:
    return f"{status} {str(said.get('message') or said.get('reason') or '')[:MAX_SAID_CHARS]}".strip()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        # A proxy's page, or a line that was cut.
        raise UnavailableError("The Kubernetes API server's answer is not JSON.") from None
    if not isinstance(value, dict):
        raise UnavailableError("The Kubernetes API server's answer is not an object.")
    return value
