# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The laptop's supervisor for services that speak TLS, which `dragoman up` does not do: it asks for health over TLS.

What each service is told of certificates is in the environment, as in a cluster. Run with the arguments of
dragoman_client.local and the folder of the supervisor's own certificate before them.
"""

import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from dragoman_client.local import __main__ as local
from dragoman_client.local import platform
from dragoman_common.tls import ChannelTls, channel_credentials


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) / "data"
    own = ChannelTls(folder / "ca.crt", chain=folder / "tls.crt", key=folder / "tls.key")

    async def is_serving(port: int, *, timeout_s: float = 2.0) -> bool:
        credentials = channel_credentials(own.current())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
            )
            try:
                return (await check(b"", timeout=timeout_s)).status == health_pb2.HealthCheckResponse.SERVING
            except grpc.aio.AioRpcError:
                return False

    platform.is_serving = is_serving
    return local.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
