# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the worker costs: calls a second and latency through its front, against the classifier called in process.

    python bench/worker/run.py [--model linear|rnn] [--clients 32] [--seconds 10]

One row a call, closed loop. `share` is the worker's rate as a part of the classifier's own, one row at a time; a
batching worker can be above 1 where a batch is cheaper than its rows. Client, front and model process share this
machine's cores.
"""

import argparse
import asyncio
import json
import time

import numpy as np
from setting import package, request, serving, texts

from dragoman_common.auth import calling_as
from dragoman_models.architecture import load_classifier
from dragoman_models.package import parse_model_config
from inference import oip_pb2_grpc


def direct_rate(files: dict[str, bytes], seconds: float) -> float:
    """Rows a second of the classifier itself, one at a time."""
    classifier = load_classifier(parse_model_config(files["model.json"]), files["weights.safetensors"])
    classifier.warm_up()
    rows = texts(512, seed=1)
    done = 0
    started_s = time.perf_counter()
    while time.perf_counter() - started_s < seconds:
        classifier.score([rows[done % len(rows)]])
        done += 1
    return done / (time.perf_counter() - started_s)


async def worker_rate(files: dict[str, bytes], clients: int, seconds: float) -> dict[str, float]:
    """Calls a second and latency through the front."""
    latencies_ms: list[float] = []
    async with serving(files) as worker:
        stub = oip_pb2_grpc.GRPCInferenceServiceStub(worker.channel)
        requests = [request(row) for row in texts(512, seed=1)]
        ends_s = time.perf_counter() + seconds

        async def client(number: int) -> None:
            turn = number
            while (sent_s := time.perf_counter()) < ends_s:
                await stub.ModelInfer(requests[turn % len(requests)], timeout=30)
                latencies_ms.append((time.perf_counter() - sent_s) * 1000)
                turn += clients

        with calling_as("local"):
            await asyncio.gather(*(client(number) for number in range(clients)))
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    return {"requests_per_s": len(latencies_ms) / seconds, "p50_ms": float(p50), "p99_ms": float(p99)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("linear", "rnn"), default="linear")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    files = package(arguments.model)
    direct = direct_rate(files, min(5.0, arguments.seconds))
    figures = asyncio.run(worker_rate(files, arguments.clients, arguments.seconds))
    figures |= {"direct_rows_per_s": direct, "share": figures["requests_per_s"] / direct}
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"model": arguments.model, "clients": arguments.clients, **rounded}))


if __name__ == "__main__":
    main()
