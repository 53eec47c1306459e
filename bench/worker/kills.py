# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a caller sees while the model process is killed again and again, at a steady load.

    python bench/worker/kills.py [--model linear|rnn] [--kills 20] [--seconds 60] [--rate 0] [--deadline-s 15]

Open loop: calls leave at their times, whatever happened to those before. A rate of 0 takes half of what the worker
did in a short closed loop. Exits 1 unless every failure is UNAVAILABLE, every call ends by its deadline, every answer
is the row's own, the worker answers within 10 s after each kill, and its front is the same process at the end.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import time

import grpc
import numpy as np
from setting import Worker, package, request, serving, texts

from dragoman_common.auth import calling_as
from dragoman_models.architecture import load_classifier
from dragoman_models.package import parse_model_config
from inference import oip_pb2_grpc

LATE_S = 0.25


async def peak_rate(stub: oip_pb2_grpc.GRPCInferenceServiceStub, requests: list, seconds: float = 4.0) -> float:
    """Calls a second of 16 clients in a closed loop."""
    done = 0
    ends_s = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < ends_s:
            await stub.ModelInfer(requests[(number + 16 * done) % len(requests)], timeout=30)
            done += 1

    await asyncio.gather(*(client(number) for number in range(16)))
    return done / seconds


async def kill_some(worker: Worker, kills: int, seconds: float, killed_s: list[float]) -> None:
    """Send the signals, evenly spread with some jitter."""
    chance = random.Random(1)
    for _ in range(kills):
        await asyncio.sleep(seconds / kills * chance.uniform(0.7, 1.2))
        for pid in worker.model_pids[:1]:
            os.kill(pid, signal.SIGKILL)
            killed_s.append(time.perf_counter())


async def run(arguments: argparse.Namespace) -> dict:
    files = package(arguments.model)
    rows = texts(300, seed=1)
    classifier = load_classifier(parse_model_config(files["model.json"]), files["weights.safetensors"])
    expected = np.concatenate([classifier.score([row]) for row in rows])
    requests = [request(row) for row in rows]
    outcomes: list[tuple[float, float, str]] = []
    num_wrong = 0
    async with serving(files) as worker:
        stub = oip_pb2_grpc.GRPCInferenceServiceStub(worker.channel)

        async def call(index: int) -> None:
            nonlocal num_wrong
            sent_s = time.perf_counter()
            try:
                answer = await stub.ModelInfer(requests[index], timeout=arguments.deadline_s)
                code = "OK"
                scores = np.frombuffer(answer.raw_output_contents[0], dtype="<f4")
                num_wrong += bool(np.abs(scores - expected[index]).max() > 1e-5)
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            outcomes.append((sent_s, time.perf_counter(), code))

        with calling_as("local"):
            rate = arguments.rate or await peak_rate(stub, requests) / 2
            killed_s: list[float] = []
            killing = asyncio.create_task(kill_some(worker, arguments.kills, arguments.seconds, killed_s))
            calls = set()
            started_s = time.perf_counter()
            for number in range(int(rate * arguments.seconds)):
                await asyncio.sleep(max(0.0, started_s + number / rate - time.perf_counter()))
                calls.add(asyncio.create_task(call(number % len(rows))))
            await asyncio.gather(*calls, killing)
        front_is_same = worker.process.returncode is None
    answered_s = sorted(ended_s for _, ended_s, code in outcomes if code == "OK")
    back_s = [next((one for one in answered_s if one > killed), float("inf")) - killed for killed in killed_s]
    took_s = [ended_s - sent_s for sent_s, ended_s, _ in outcomes]
    return {
        "model": arguments.model,
        "rate_per_s": round(rate, 1),
        "kills": len(killed_s),
        "calls": len(outcomes),
        "codes": dict(collections.Counter(code for _, _, code in outcomes)),
        "wrong": num_wrong,
        "worst_back_s": round(max(back_s), 2),
        "p50_ms": round(float(np.percentile(took_s, 50)) * 1000, 1),
        "longest_s": round(max(took_s), 2),
        "front_is_same": front_is_same,
        "ok": num_wrong == 0
        and front_is_same
        and {code for _, _, code in outcomes} <= {"OK", "UNAVAILABLE"}
        and max(back_s) <= 10
        and max(took_s) <= arguments.deadline_s + LATE_S,
    }


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("linear", "rnn"), default="rnn")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--deadline-s", type=float, default=15)
    result = asyncio.run(run(parser.parse_args()))
    print(json.dumps(result))
    raise SystemExit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
