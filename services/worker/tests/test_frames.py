# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Frames: what is written is read, on both kinds of socket, and nothing else passes or is allocated for."""

import asyncio
import socket
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.inference.v1 import model_process_pb2 as pb
from dragoman_worker import frames, process_messages


def read_sync(data: bytes, parse=process_messages.parse_reply, size=process_messages.reply_payload_bytes):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return frames.receive(ours, parse, size)


def read_async(data: bytes, parse=process_messages.parse_reply, size=process_messages.reply_payload_bytes):
    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await frames.receive_async(reader, parse, size)

    return asyncio.run(read())


@pytest.mark.parametrize("read", [read_sync, read_async])
def test_frame_is_read_as_it_was_written(read):
    scores = np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]], dtype=np.float32)
    header, payload = process_messages.score_reply(7, scores, 1.5)
    reply, data = read(frames.head(header, len(payload)) + payload)
    assert (reply.id, reply.score.num_rows, reply.score.num_labels) == (7, 3, 2)
    assert process_messages.scores_from_reply(reply.score, data).tolist() == scores.tolist()


def test_rows_of_a_batch_are_cut_where_they_were_joined():
    rows = [np.arange(n, dtype=np.int32) for n in (1, 10, 500)]
    header, payload = process_messages.score_request(3, rows)
    parsed, data = read_sync(
        frames.head(header, len(payload)) + payload,
        process_messages.parse_request,
        process_messages.request_payload_bytes,
    )
    cut = process_messages.rows_from_payload(parsed.score.lengths, data)
    assert [row.tolist() for row in cut] == [row.tolist() for row in rows]


@pytest.mark.parametrize("read", [read_sync, read_async])
def test_closed_socket_between_frames_is_an_end_and_inside_one_is_an_error(read):
    header, payload = process_messages.score_reply(1, np.zeros((2, 2), dtype=np.float32), 0)
    whole = frames.head(header, len(payload)) + payload
    assert read(b"") is None
    for cut in range(1, len(whole)):
        with pytest.raises(frames.FrameError):
            read(whole[:cut])


@pytest.mark.parametrize("read", [read_sync, read_async])
def test_size_over_the_limit_is_refused_before_memory_is_taken(read):
    huge = [
        (2**32 - 1).to_bytes(4, "little"),
        (frames.MAX_HEADER_BYTES + 1).to_bytes(4, "little") + b"x" * 100,
    ]
    for rows, labels in ((2**31 - 1, 2**31 - 1), (4096, 65536), (-1, 5), (0, 5), (5, -(2**31))):
        header = pb.ReplyHeader(score=pb.ScoreReply(num_rows=rows, num_labels=labels)).SerializeToString()
        huge.append(len(header).to_bytes(4, "little") + header)
    tracemalloc.start()
    for data in huge:
        with pytest.raises(frames.FrameError):
            read(data)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("lengths", [[0], [-1], [3, -2], [2**31 - 1] * 20, [1] * 5000])
def test_request_with_impossible_lengths_is_refused(lengths):
    header = pb.RequestHeader(score=pb.ScoreRequest(lengths=lengths)).SerializeToString()
    with pytest.raises(frames.FrameError):
        read_sync(
            len(header).to_bytes(4, "little") + header + b"\0" * 64,
            process_messages.parse_request,
            process_messages.request_payload_bytes,
        )


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_frame_an_end_or_a_frame_error(data):
    # A length prefix that fits makes the fuzz reach the header.
    for candidate in (data, len(data[8:40]).to_bytes(4, "little") + data[8:]):
        for parse, size in (
            (process_messages.parse_reply, process_messages.reply_payload_bytes),
            (process_messages.parse_request, process_messages.request_payload_bytes),
        ):
            outcomes = []
            for read in (read_sync, read_async):
                try:
                    frame = read(candidate, parse, size)
                    outcomes.append(frame and (frame[0], bytes(frame[1])))
                except frames.FrameError:
                    outcomes.append("error")
            assert outcomes[0] == outcomes[1]
