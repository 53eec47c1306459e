# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry as a CheckpointStore, for the job that the token is for. Adapter: speaks DataService."""

import hashlib
import logging
from collections.abc import Iterator

import grpc

from dragoman.registry.v1 import data_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc
from dragoman_common.errors import DataLossError, NotFoundError
from dragoman_trainer.call import Credential, call_with_retries

CHUNK_BYTES = 1 << 20
TRANSFER_TIMEOUT_S = 600.0
DROP_TIMEOUT_S = 30.0
MAX_LOOKS = 3
"""The registry keeps two; one more may come between two looks."""

logger = logging.getLogger(__name__)


class RegistryCheckpoints:
    """Checkpoints of one job."""

    def __init__(self, channel: grpc.Channel, token: Credential) -> None:
        """Keep them over a channel that the caller closes."""
        self._stub = data_pb2_grpc.DataServiceStub(channel)
        self._token = token

    def save(self, step: int, data: bytes) -> None:
        """See CheckpointStore."""
        digest = hashlib.sha256(data).hexdigest()

        def parts() -> Iterator[pb.PutCheckpointRequest]:
            told = pb.Checkpoint(step=step, size_bytes=len(data), sha256=digest)
            yield pb.PutCheckpointRequest(checkpoint=told)
            for start in range(0, len(data), CHUNK_BYTES):
                yield pb.PutCheckpointRequest(data=data[start : start + CHUNK_BYTES])

        call_with_retries(
            "saving a checkpoint",
            lambda: self._stub.PutCheckpoint(parts(), timeout=TRANSFER_TIMEOUT_S, metadata=self._token.metadata()),
        )

    def newest(self) -> bytes | None:
        """See CheckpointStore."""
        before_step = 0
        for _ in range(MAX_LOOKS):
            found: list[pb.Checkpoint] = []
            try:
                return call_with_retries("reading a checkpoint", lambda: self._read(before_step, found))  # noqa: B023  called at once
            except NotFoundError:
                return None
            except DataLossError as error:
                if not found:
                    raise
                logger.warning("checkpoint passed over", extra={"step": found[-1].step, "reason": error.message})
                before_step = found[-1].step
        return None

    def drop(self) -> None:
        """See CheckpointStore."""
        call_with_retries(
            "dropping checkpoints",
            lambda: self._stub.DropCheckpoints(
                pb.DropCheckpointsRequest(), timeout=DROP_TIMEOUT_S, metadata=self._token.metadata()
            ),
        )

    def _read(self, before_step: int, found: list[pb.Checkpoint]) -> bytes:
        stream = self._stub.GetCheckpoint(
            pb.GetCheckpointRequest(before_step=before_step),
            timeout=TRANSFER_TIMEOUT_S,
            metadata=self._token.metadata(),
        )
        told = next(stream).checkpoint
        found.append(told)
        data = bytearray()
        for part in stream:
            data += part.data
            if len(data) > told.size_bytes:
                break
        if len(data) != told.size_bytes or hashlib.sha256(data).hexdigest() != told.sha256:
            raise DataLossError(f"checkpoint of step {told.step}: what came is not what was announced")
        return bytes(data)
