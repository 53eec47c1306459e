# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs inside the cluster, in the client's pod (python - ARGUMENTS < this file): asks and asks, and says what failed.

    threads, each with a connection of its own -> the gateway's Service -> one JSON document when it is told to end

Stops at the end of standard input's pipe, at --for-s, or at SIGTERM. Imports what the client's image has.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc

from dragoman.gateway.v1 import gateway_pb2 as pb
from dragoman.gateway.v1 import gateway_pb2_grpc as pb_grpc
from dragoman_client.local import keys
from dragoman_client.local.home import Home
from dragoman_client.local.user_tokens import UserTokenIssuer
from dragoman_common.clock import SystemClock


class Tally:
    """What all threads saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.codes = Counter()
        self.wrong = 0
        self.failures = []
        self.latencies_ms = []

    def answer(self, latency_s: float, *, is_right: bool) -> None:
        with self.lock:
            self.codes["OK"] += 1
            self.wrong += not is_right
            self.latencies_ms.append(latency_s * 1e3)

    def failure(self, at_s: float, latency_s: float, error: grpc.RpcError) -> None:
        with self.lock:
            self.codes[error.code().name] += 1
            self.failures.append([round(at_s, 3), round(latency_s, 3), error.code().name, error.details()[:200]])


def connected(target: str, settings) -> grpc.Channel:
    """Over TLS where the chart says so: then it has left the authority's certificate here."""
    if authority := os.environ.get("DRAGOMAN_CA"):
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(Path(authority).read_bytes()), options=settings)
    return grpc.insecure_channel(target, options=settings)


def ask(options, token: str, rows, tally: Tally, stop: threading.Event, number: int) -> None:
    """One caller: one call at a time, at its pace, over a connection that it shares with nobody."""
    rng = random.Random(number)
    # No retry policy. What no server has taken, gRPC itself sends again, as it does for every client that has not
    # switched that off: it is how a connection that has come of age loses no call.
    settings = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
    with connected(options.target, settings) as channel:
        stub = pb_grpc.GatewayServiceStub(channel)
        due_s = time.monotonic() + rng.random() * options.every_s
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + options.every_s, time.monotonic() - 1)
            chosen = rng.choices(rows, k=options.rows_per_call)
            request = pb.ClassifyRequest(
                model=pb.ModelSelector(model=options.model),
                texts=[" ".join([text] * options.repeat) for text, _ in chosen],
            )
            at_s, began_s = time.time(), time.monotonic()
            try:
                answer = stub.Classify(
                    request,
                    timeout=options.timeout_s,
                    metadata=[("authorization", f"Bearer {token}")],
                    # What has not been sent waits for a connection.
                    wait_for_ready=True,
                )
            except grpc.RpcError as error:
                tally.failure(at_s, time.monotonic() - began_s, error)
                # As any client would: not at once again.
                stop.wait(0.2)
            else:
                tally.answer(
                    time.monotonic() - began_s,
                    is_right=[row.label for row in answer.rows] == [label for _, label in chosen],
                )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", required=True, help="a JSON list of [text, label]")
    parser.add_argument("--home", default="/etc/dragoman/home")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--every-s", type=float, default=0.2, help="of each caller")
    parser.add_argument("--rows-per-call", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="each text so many times, to make it long")
    parser.add_argument("--timeout-s", type=float, default=20.0)
    parser.add_argument("--for-s", type=float, default=3600.0)
    parser.add_argument("--stop-file", default="/tmp/stop-load")
    options = parser.parse_args()
    rows, tally, stop = json.loads(options.rows), Tally(), threading.Event()
    token = UserTokenIssuer.load(keys.user_key_file(Home(Path(options.home)))).token(
        clock=SystemClock(), subject="load"
    )
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop_file = Path(options.stop_file)
    stop_file.unlink(missing_ok=True)
    threads = [
        threading.Thread(target=ask, args=(options, token, rows, tally, stop, number))
        for number in range(options.callers)
    ]
    for thread in threads:
        thread.start()
    ends_s = time.monotonic() + options.for_s
    while time.monotonic() < ends_s and not stop.is_set() and not stop_file.exists():
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    ordered = sorted(tally.latencies_ms)
    json.dump(
        {
            "codes": dict(tally.codes),
            "wrong": tally.wrong,
            "failures": tally.failures,
            "p50_ms": round(ordered[len(ordered) // 2], 1) if ordered else None,
            "p99_ms": round(ordered[int(len(ordered) * 0.99)], 1) if ordered else None,
            "max_ms": round(ordered[-1], 1) if ordered else None,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
