# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""KEDA is asked again only when the autoscaler serves, and by a change that nobody else reads."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kubernetes.client.exceptions import ApiException

from dragoman_client.cluster.settling import KEY, ask_again, wait_until_serving
from dragoman_common.errors import DeadlineExceededError, PermissionDeniedError, UnavailableError


class Health(health_pb2_grpc.HealthServicer):
    """Serves after some questions."""

    def __init__(self, num_before: int) -> None:
        self.left = num_before

    def Check(self, request, context):
        self.left -= 1
        kind = health_pb2.HealthCheckResponse
        return kind(status=kind.NOT_SERVING if self.left >= 0 else kind.SERVING)


@pytest.fixture(name="serve")
def _serve():
    servers = []

    def serve(servicer):
        server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.stop(0).wait()


def test_it_waits_until_the_autoscaler_serves(serve):
    pauses = []
    wait_until_serving(serve(Health(3)), timeout_s=60, pause=pauses.append)
    assert len(pauses) == 3


def test_it_says_what_it_waited_for(serve):
    with pytest.raises(DeadlineExceededError, match="not serving yet"):
        wait_until_serving(serve(Health(10**6)), timeout_s=0.2, pause=lambda _: None)


class Api:
    """Keeps what it is told."""

    def __init__(self, status: int = 0) -> None:
        self.patches = []
        self.status = status

    def patch_namespaced_custom_object(self, group, version, namespace, plural, name, body, _content_type, **_):
        if self.status:
            raise ApiException(status=self.status, reason="said")
        assert _content_type == "application/json-patch+json"
        self.patches.append((f"{group}/{version}", namespace, plural, name, body))


def test_the_change_is_of_a_key_that_the_autoscaler_leaves_alone():
    api = Api()
    ask_again(api, "models", ["a", "b"], "now")
    assert [patch[3] for patch in api.patches] == ["a", "b"]
    (change,) = api.patches[0][4]
    assert (change["op"], change["path"]) == ("add", f"/spec/triggers/0/metadata/{KEY}")


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDeniedError), (404, UnavailableError)])
def test_what_cannot_be_changed_is_named(status, kind):
    with pytest.raises(kind, match="ScaledObject a"):
        ask_again(Api(status), "models", ["a"], "now")
