# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Scaled objects that were made before the autoscaler answered: KEDA is made to ask it again.

KEDA asks for a trigger's metrics when it takes up a ScaledObject, and not again until that changes. One whose
autoscaler was still starting scales on CPU alone. So: wait until it serves, then change a key of the trigger that
nobody reads.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from dragoman_common.errors import DeadlineExceededError, PermissionDeniedError, UnavailableError

KEY: Final = "askedFor"
_GROUP, _VERSION, _PLURAL = "keda.sh", "v1alpha1", "scaledobjects"
_CALL_TIMEOUT_S: Final = 5.0


def wait_until_serving(target: str, *, timeout_s: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Ask a health port, which is in the clear, until it says SERVING.

    Raises:
        DeadlineExceededError: it has not in that time.
    """
    ends_at_s = time.monotonic() + timeout_s
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_TIMEOUT_S)
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                said = "it is not serving yet"
            except grpc.RpcError as error:
                said = str(error.details())
            if time.monotonic() > ends_at_s:
                raise DeadlineExceededError(f"{target} has not served within {timeout_s:g} s: {said}")
            pause(1.0)


def ask_again(api: Any, namespace: str, names: Sequence[str], value: str) -> None:
    """Change the unread key of each object's first trigger.

    Args:
        api: a CustomObjectsApi; the package gives its methods no types.
        namespace: where the objects are.
        names: the ScaledObjects.
        value: another than last time.

    Raises:
        PermissionDeniedError: the right to change one is missing.
        UnavailableError: nobody answers, or one is not there.
    """
    patch = [{"op": "add", "path": f"/spec/triggers/0/metadata/{KEY}", "value": value}]
    for name in names:
        try:
            api.patch_namespaced_custom_object(
                _GROUP,
                _VERSION,
                namespace,
                _PLURAL,
                name,
                patch,
                _request_timeout=_CALL_TIMEOUT_S,
                # The package would call a list a merge patch.
                _content_type="application/json-patch+json",
            )
        except ApiException as error:
            kind = PermissionDeniedError if error.status in (401, 403) else UnavailableError
            raise kind(f"ScaledObject {name}: {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise UnavailableError(f"the API server did not answer about ScaledObject {name}: {error}") from error
