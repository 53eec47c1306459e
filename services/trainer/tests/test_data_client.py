# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Data and checkpoints over real gRPC, from a registry that breaks off, sends other bytes, or has lost some."""

import hashlib
from concurrent import futures

import grpc
import pytest

from dragoman.registry.v1 import data_pb2 as pb
from dragoman.registry.v1 import data_pb2_grpc
from dragoman_common.errors import NotFoundError, UnavailableError
from dragoman_models.data_set import StoredName
from dragoman_models.file_digest import FileDigest
from dragoman_trainer import call
from dragoman_trainer.call import JobToken, open_channel
from dragoman_trainer.checkpoint_client import RegistryCheckpoints
from dragoman_trainer.data_client import MAX_BREAKS, RegistryData

CONTENT = bytes(range(256)) * 4000
FILE = FileDigest(path="train.csv", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
Code = grpc.StatusCode


class Data(data_pb2_grpc.DataServiceServicer):
    """Each call takes the next of `breaks`: how many pieces come before it breaks off, and with which code."""

    def __init__(self):
        self.breaks = []
        self.offsets = []
        self.checkpoints = {}
        self.damaged = set()
        self.saved = []

    def DownloadDataFile(self, request, context):
        self.offsets.append(request.offset_bytes)
        left, code = self.breaks.pop(0) if self.breaks else (None, None)
        for start in range(request.offset_bytes, len(CONTENT), 100_000):
            if left == 0:
                break
            left = None if left is None else left - 1
            yield pb.DownloadDataFileResponse(data=CONTENT[start : start + 100_000])
        if code is not None:
            context.abort(code, "broken off")

    def GetCheckpoint(self, request, context):
        steps = [step for step in self.checkpoints if not request.before_step or step < request.before_step]
        if not steps:
            context.abort(Code.NOT_FOUND, "none")
        data = self.checkpoints[max(steps)]
        told = pb.Checkpoint(step=max(steps), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        yield pb.GetCheckpointResponse(checkpoint=told)
        if max(steps) in self.damaged:
            yield pb.GetCheckpointResponse(data=b"x" * len(data))
            return
        yield pb.GetCheckpointResponse(data=data)

    def PutCheckpoint(self, request_iterator, context):
        first, *rest = request_iterator
        self.saved.append((first.checkpoint, b"".join(part.data for part in rest)))
        return pb.PutCheckpointResponse()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(call, "RETRY_DELAYS_S", (0.0, 0.0))


@pytest.fixture
def served(tmp_path):
    (tmp_path / "token").write_text("the.jobs.token", encoding="ascii")
    servicer = Data()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    data_pb2_grpc.add_DataServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open_channel(f"127.0.0.1:{port}") as channel:
        token = JobToken(tmp_path / "token")
        servicer.source, servicer.store = RegistryData(channel, token), RegistryCheckpoints(channel, token)
        yield servicer
    server.stop(None).wait()


def read(served):
    return b"".join(served.source.read("toy", "ab" * 32, FILE))


def test_a_download_that_breaks_off_goes_on_where_it_was(served):
    served.breaks = [(3, Code.UNAVAILABLE), (0, Code.UNAVAILABLE), (2, Code.UNAVAILABLE)]
    assert read(served) == CONTENT
    assert served.offsets == [0, 300_000, 300_000, 500_000]


def test_a_registry_that_only_breaks_off_is_given_up_and_a_damaged_file_at_once(served):
    served.breaks = [(1, Code.UNAVAILABLE)] * (MAX_BREAKS + 1)
    with pytest.raises(UnavailableError):
        read(served)
    served.breaks, served.offsets = [(2, Code.DATA_LOSS)], []
    with pytest.raises(Exception, match="broken off"):
        read(served)
    assert served.offsets == [0]


def test_a_missing_data_set_is_said_to_be(served):
    with pytest.raises(Exception, match=r"not implemented|Method not"):
        served.source.files(StoredName("toy"))
    with pytest.raises(NotFoundError):
        served.breaks = [(0, Code.NOT_FOUND)]
        read(served)


def test_the_newest_whole_checkpoint_is_found_and_none_is_none(served):
    assert served.store.newest() is None
    served.checkpoints = {5: b"five", 10: b"ten" * 1000}
    assert served.store.newest() == b"ten" * 1000
    served.damaged = {10}
    assert served.store.newest() == b"five"
    served.damaged = {5, 10}
    assert served.store.newest() is None


def test_a_checkpoint_is_sent_with_its_size_and_digest(served):
    served.store.save(7, CONTENT * 2)
    ((told, data),) = served.saved
    assert data == CONTENT * 2
    assert (told.step, told.size_bytes, told.sha256) == (7, len(data), hashlib.sha256(data).hexdigest())
