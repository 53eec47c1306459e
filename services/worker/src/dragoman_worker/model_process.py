# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One loaded model in a process of its own: ``python -m dragoman_worker.model_process DEVICE FD``.

Owns the device and the loop over frames. No asyncio and no gRPC: one batch after the other, from one socket that the
front holds the other end of. It ends when that socket closes, and the kernel ends it when the front dies.

    first frame: load -> read and check every file -> parse the checked bytes -> warm up -> LoadedReply
    then:        score -> BegunReply -> rows -> classifier.score -> shape and values checked -> ScoreReply or ErrorReply

A batch that raises is answered with an error and the process lives on. Only the socket's end, a broken frame, a crash
or the loss of the device end it.
"""

import ctypes
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from dragoman.inference.v1 import model_process_pb2 as pb
from dragoman_common import logs
from dragoman_common.errors import DragomanError
from dragoman_models.architecture import load_classifier, load_embedder
from dragoman_models.classifier import Classifier, Embedder, TokenIds
from dragoman_models.device import is_lost
from dragoman_models.package import EMBEDDING, MODEL_FILE, WEIGHTS_FILE, parse_model_config
from dragoman_worker import frames, process_messages
from dragoman_worker.exit_status import DEVICE_LOST
from dragoman_worker.package_reader import read_package
from dragoman_worker.ports import ModelFailedError, ModelFiles
from dragoman_worker.request import Scores

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


class Model(Protocol):
    """What runs here: the part of dragoman_models' Classifier that frames need."""

    @property
    def num_labels(self) -> int:
        """The width of the answer's rows."""
        ...

    def score(self, batch: Sequence[TokenIds]) -> Scores:
        """A row of finite numbers for each text, in the order given."""
        ...

    def warm_up(self) -> None:
        """Run what serving will run, once."""
        ...


TORCH_ARCHITECTURES = frozenset({"rnn", "transformer"})


def main(arguments: Sequence[str], load: Callable[[ModelFiles], Model] | None = None) -> int:
    """Serve one model on a socket.

    Args:
        arguments: The device, one of dragoman_models.device.CHOICES, and the number of the socket's descriptor.
        load: Turns files into a model; the real one unless a test says otherwise.

    Returns:
        The exit status: 0 when the front closed the socket, 1 when the model could not be loaded, DEVICE_LOST when its
        device failed under a batch.
    """
    logs.configure("worker-model", "INFO")
    end_with_parent()
    # The front drains on these; it needs this process until it closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    device, descriptor = arguments
    with socket.socket(fileno=int(descriptor)) as connection:
        return serve(connection, load or partial(load_model, device=device))


def load_model(files: ModelFiles, device: str) -> Model:
    """Check the files and build the model that they describe, on the device that is chosen here.

    Raises:
        DataLossError: the files are not what their digests say.
        InvalidArgumentError: they are, and are no model that can be run here.
        DeviceMissingError: there is no such device here, and the model could use it.
    """
    content = read_package(files, keep=frozenset({MODEL_FILE, WEIGHTS_FILE}))
    config = parse_model_config(content[MODEL_FILE])
    weights = content[WEIGHTS_FILE]
    loaded: Embedder | Classifier
    if config.task == EMBEDDING:
        loaded = load_embedder(config, weights, device=device)
        model: Model = _Embedding(loaded)
    else:
        model = loaded = load_classifier(config, weights, device=device)
    logger.info("model loaded", extra={"architecture": config.architecture.name, "device": loaded.device})
    return model


class _Embedding:
    """An embedder behind the frames of a classifier: they carry a row of numbers for each text, whatever they mean."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def num_labels(self) -> int:
        return self._embedder.embedding_size

    def score(self, batch: Sequence[TokenIds]) -> Scores:
        return self._embedder.embed(batch)

    def warm_up(self) -> None:
        self._embedder.warm_up()


def serve(connection: socket.socket, load: Callable[[ModelFiles], Model]) -> int:
    """Answer frames until the peer closes; see the module's docstring.

    Raises:
        FrameError: the peer broke the protocol.
        OSError: the peer is gone.
    """
    first = _receive(connection)
    if first is None:
        return 0
    header, _ = first
    if header.WhichOneof("request") != "load":
        raise frames.FrameError("the first frame must be a load request")
    try:
        classifier = load(process_messages.files_from_pb(header.load))
        started_s = time.perf_counter()
        classifier.warm_up()
    except Exception as error:  # noqa: BLE001 - whatever a model raises is an answer to the front, not our end
        _log(error, "model not loaded")
        frames.send(connection, process_messages.error_reply(header.id, error))
        return 1
    loaded = pb.LoadedReply(num_labels=classifier.num_labels, warm_up_ms=(time.perf_counter() - started_s) * 1000)
    frames.send(connection, pb.ReplyHeader(id=header.id, loaded=loaded).SerializeToString())
    while (frame := _receive(connection)) is not None:
        header, payload = frame
        frames.send(connection, process_messages.begun_reply(header.id))
        try:
            reply, scores = _score(classifier, header, payload)
        except Exception as error:  # noqa: BLE001 - as above: one bad batch fails alone
            _log(error, "batch failed")
            if is_lost(error):
                return DEVICE_LOST
            frames.send(connection, process_messages.error_reply(header.id, error))
        else:
            frames.send(connection, reply, scores)
    return 0


def _receive(connection: socket.socket) -> tuple[pb.RequestHeader, bytearray] | None:
    return frames.receive(connection, process_messages.parse_request, process_messages.request_payload_bytes)


def _score(classifier: Model, header: pb.RequestHeader, payload: bytearray) -> tuple[bytes, bytes]:
    if header.WhichOneof("request") != "score" or not header.score.lengths:
        raise ModelFailedError("only score requests with rows can follow the load request")
    started_s = time.perf_counter()
    rows = process_messages.rows_from_payload(header.score.lengths, payload)
    scores_BC = check_scores(classifier.score(rows), num_rows=len(rows), num_labels=classifier.num_labels)
    return process_messages.score_reply(header.id, scores_BC, (time.perf_counter() - started_s) * 1000)


def check_scores(scores_BC: Scores, *, num_rows: int, num_labels: int) -> Scores:
    """Return the scores if they are one finite row of num_labels for each row of the batch.

    Raises:
        ModelFailedError: they are not; sending them on would give a caller another's answer, or nonsense.
    """
    if scores_BC.shape != (num_rows, num_labels) or scores_BC.dtype != np.float32:
        raise ModelFailedError(
            f"the model answered {scores_BC.dtype} {scores_BC.shape} to {num_rows} rows of {num_labels} labels"
        )
    if not np.isfinite(scores_BC).all():
        raise ModelFailedError("the model answered NaN or infinite scores")
    return scores_BC


def _log(error: Exception, message: str) -> None:
    if isinstance(error, DragomanError):
        logger.warning(message, extra={"error": error.message})
    else:
        logger.error(message, exc_info=error)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies: one that computes does not see its socket close."""
    # The C library of the process itself; there is no other way to this call without a dependency.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
