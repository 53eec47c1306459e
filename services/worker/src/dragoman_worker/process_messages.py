# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the frames between front and model process say: headers of dragoman.inference.v1 and their tensors.

Owns the conversion in both directions and the checks on it. Not the bytes on the wire (frames.py). Shape legend: N rows
of a batch, T tokens of a row, C labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from dragoman.inference.v1 import model_process_pb2 as pb
from dragoman_common.errors import (
    DataLossError,
    DragomanError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from dragoman_worker.frames import FrameError
from dragoman_worker.ports import ModelFailedError, ModelFiles
from dragoman_worker.request import Scores, TokenIds

MAX_ROWS = 4096
MAX_LABELS = 1 << 16

INTERNAL_CODE = 13
# The google.rpc codes that a model process uses; any other becomes ModelFailedError.
_ERROR_BY_CODE: Mapping[int, type[DragomanError]] = {
    3: InvalidArgumentError,
    9: FailedPreconditionError,
    14: UnavailableError,
    15: DataLossError,
}
_CODE_BY_ERROR = {error: code for code, error in _ERROR_BY_CODE.items()}


def load_request(files: ModelFiles, num_threads: int) -> bytes:
    """Write the first header of a process."""
    return pb.RequestHeader(
        load=pb.LoadRequest(
            model_folder=str(files.folder),
            sha256_by_path=files.sha256_by_path,
            blake3_by_path=files.blake3_by_path,
            num_threads=num_threads,
        )
    ).SerializeToString()


def files_from_pb(request: pb.LoadRequest) -> ModelFiles:
    """Read it."""
    return ModelFiles(
        folder=Path(request.model_folder),
        sha256_by_path=dict(request.sha256_by_path),
        blake3_by_path=dict(request.blake3_by_path),
    )


def score_request(request_id: int, rows: Sequence[TokenIds]) -> tuple[bytes, bytes]:
    """Write a batch: header, and the rows' ids one after another."""
    header = pb.RequestHeader(id=request_id, score=pb.ScoreRequest(lengths=[row.size for row in rows]))
    return header.SerializeToString(), np.concatenate(rows).astype("<i4", copy=False).tobytes()


def rows_from_payload(lengths: Sequence[int], payload: bytes | bytearray) -> list[TokenIds]:
    """Cut a batch's ids into its rows; views of the payload, not copies."""
    ids = np.frombuffer(payload, dtype="<i4")
    return np.split(ids, np.cumsum(np.asarray(lengths, dtype=np.int64))[:-1])


def parse_request(data: bytes) -> pb.RequestHeader:
    """Read a request's header.

    Raises:
        FrameError: not a header.
    """
    try:
        return pb.RequestHeader.FromString(data)
    except DecodeError as error:
        raise FrameError("a request header does not parse") from error


def request_payload_bytes(header: pb.RequestHeader) -> int:
    """Return how long the tensor behind the header is.

    Raises:
        FrameError: more rows than MAX_ROWS, or a row without tokens.
    """
    lengths = header.score.lengths
    if len(lengths) > MAX_ROWS:
        raise FrameError(f"a batch of {len(lengths)} rows, the limit is {MAX_ROWS}")
    if any(length <= 0 for length in lengths):
        raise FrameError("a row without tokens")
    # A Python integer: the sum cannot wrap around.
    return 4 * sum(lengths)


def parse_reply(data: bytes) -> pb.ReplyHeader:
    """Read a reply's header.

    Raises:
        FrameError: not a header.
    """
    try:
        return pb.ReplyHeader.FromString(data)
    except DecodeError as error:
        raise FrameError("a reply header does not parse") from error


def reply_payload_bytes(header: pb.ReplyHeader) -> int:
    """Return how long the tensor behind the header is.

    Raises:
        FrameError: a shape outside the limits.
    """
    if header.WhichOneof("reply") != "score":
        return 0
    rows, labels = header.score.num_rows, header.score.num_labels
    if not (0 < rows <= MAX_ROWS and 0 < labels <= MAX_LABELS):
        raise FrameError(f"scores of {rows} x {labels}, the limit is {MAX_ROWS} x {MAX_LABELS}")
    return 4 * rows * labels


def begun_reply(request_id: int) -> bytes:
    """Write that a batch has been read and will be computed next."""
    return pb.ReplyHeader(id=request_id, begun=pb.BegunReply()).SerializeToString()


def score_reply(request_id: int, scores_NC: Scores, compute_ms: float) -> tuple[bytes, bytes]:
    """Write a batch's scores."""
    num_rows, num_labels = scores_NC.shape
    header = pb.ReplyHeader(
        id=request_id, score=pb.ScoreReply(num_rows=num_rows, num_labels=num_labels, compute_ms=compute_ms)
    )
    return header.SerializeToString(), np.ascontiguousarray(scores_NC, dtype="<f4").tobytes()


def scores_from_reply(reply: pb.ScoreReply, payload: bytes) -> Scores:
    """Read them: scores_NC, a view of the payload."""
    return np.frombuffer(payload, dtype="<f4").reshape(reply.num_rows, reply.num_labels)


def error_reply(request_id: int, error: Exception) -> bytes:
    """Write what went wrong. The text of an error that is not ours stays in the process's log."""
    if isinstance(error, DragomanError):
        code = next((_CODE_BY_ERROR[cls] for cls in type(error).__mro__ if cls in _CODE_BY_ERROR), INTERNAL_CODE)
        reply = pb.ErrorReply(code=code, message=error.message)
    else:
        reply = pb.ErrorReply(code=INTERNAL_CODE, message="the model failed")
    return pb.ReplyHeader(id=request_id, error=reply).SerializeToString()


def error_from_pb(reply: pb.ErrorReply) -> Exception:
    """Read it."""
    error = _ERROR_BY_CODE.get(reply.code)
    return ModelFailedError(reply.message) if error is None else error(reply.message)
