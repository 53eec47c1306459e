# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What data sets the registry's store has, asked for the tenant that submits: the port DataSets."""

import grpc

from dragoman.registry.v1 import data_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc
from dragoman_common.auth import calling_as
from dragoman_common.status import translated


class RegistryDataSets:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = data_pb2_grpc.DataServiceStub(channel)

    async def digest(self, tenant: str, name: str, sha256: str) -> str:
        request = pb.GetDataSetRequest(name=name, sha256=sha256)
        with calling_as(tenant), translated():
            return str((await self._stub.GetDataSet(request)).data_set.sha256)
