# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""GetReport over gRPC: exact, for the caller's tenant only, and clear about what it cannot answer."""

from collections import Counter

import grpc
import pytest

from dragoman.monitor.v1 import monitor_pb2 as pb
from dragoman.monitor.v1 import monitor_pb2_grpc as pb_grpc
from dragoman_common.auth import calling_as
from dragoman_common.server import Service
from dragoman_common.testing import running
from dragoman_events.ports import Message
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import MINUTE_US, RULES, START_US
from dragoman_monitor.convert import time_to_pb
from dragoman_monitor.servicer import POLICY, MonitorServicer
from dragoman_monitor.sql import SqlMonitorStore
from dragoman_monitor.sqlite import sqlite_database

R8_TEST_ROWS = 2189


@pytest.fixture
def log(tmp_path):
    log = SqliteEventLog(tmp_path / "events.db")
    yield log
    log.close()


@pytest.fixture
def store(tmp_path):
    store = SqlMonitorStore(sqlite_database(tmp_path / "monitor.db"), RULES)
    yield store
    store.close()


@pytest.fixture
async def server(log, store):
    service = Service(
        register=pb_grpc.add_MonitorServiceServicer_to_server,
        servicer=MonitorServicer(store, log, RULES, max_windows=5),
    )
    async with running([service], POLICY, name="monitor") as server:
        yield server


async def report(server, *, identity="operator", tenant="acme", **request):
    async with server.channel(identity, tenant=tenant) as channel:
        return await pb_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(**{"model": "r8"} | request))


async def test_the_report_of_a_whole_test_set_is_exact(world, log, store, server):
    same = {"version": 1, "arm": "stable", "code": "OK"}
    predictions = [
        world.prediction(n, **same, label=("acq", "crude", "earn", "trade")[n % 4]) for n in range(R8_TEST_ROWS)
    ]
    feedback = [world.feedback(n) for n in range(R8_TEST_ROWS)]
    log.write(PREDICTIONS, [world.message(p) for p in predictions])
    log.write(FEEDBACK, [world.message(f) for f in feedback])
    world.drain(log, store, [FEEDBACK, PREDICTIONS], max_records=500)
    answer = await report(server)
    (version,) = answer.versions
    total = version.total
    pairs = Counter((f.true_label, p.label) for p, f in zip(predictions, feedback, strict=True))
    correct = sum(count for (true, predicted), count in pairs.items() if true == predicted)
    assert (version.model, version.version, version.arm) == ("r8", 1, "stable")
    assert total.num_predictions == total.num_labelled == R8_TEST_ROWS
    assert total.num_errors == 0
    assert {(cell.true_label, cell.predicted_label): cell.count for cell in total.confusion} == pairs
    assert total.num_correct == correct
    assert total.accuracy == correct / R8_TEST_ROWS
    per_label = Counter(f.true_label for f in feedback)
    recalls = [pairs[label, label] / per_label[label] for label in sorted(per_label)]
    assert total.macro_recall == sum(recalls) / len(recalls)
    assert dict(total.predictions_by_label) == Counter(p.label for p in predictions)
    covered = [(p, f) for p, f in zip(predictions, feedback, strict=True) if p.score >= 0.9]
    assert total.coverage == len(covered) / R8_TEST_ROWS
    assert total.covered_accuracy == sum(p.label == f.true_label for p, f in covered) / len(covered)
    assert total.num_truncated == sum(p.truncated for p in predictions)
    assert total.unknown_token_share == R8_TEST_ROWS / sum(p.num_tokens for p in predictions)
    latencies = sorted(p.latency_ms for p in predictions)
    exact = {500: "p50_ms", 900: "p90_ms", 990: "p99_ms", 1000: "max_ms"}
    for per_mille, name in exact.items():
        value = latencies[-(-R8_TEST_ROWS * per_mille // 1000) - 1]
        assert getattr(total.latency, name) == pytest.approx(value, rel=total.latency.relative_error * 1.0001)
    assert answer.freshness == pb.ReportFreshness()


async def test_windows_add_up_to_the_total(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(2 * n)) for n in range(100)])
    world.drain(log, store)
    (version,) = (await report(server, with_windows=True)).versions
    starts = [window.start_time.ToMicroseconds() for window in version.windows]
    assert starts == [START_US + i * MINUTE_US for i in range(5)]
    assert all(w.end_time.ToMicroseconds() - w.start_time.ToMicroseconds() == MINUTE_US for w in version.windows)
    assert sum(window.measures.num_predictions for window in version.windows) == version.total.num_predictions == 100
    assert not (await report(server)).versions[0].windows


async def test_a_report_may_be_narrowed_to_a_version_and_a_time(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(200)])
    world.drain(log, store)
    both = (await report(server)).versions
    assert [(v.version, v.arm, v.total.num_predictions) for v in both] == [(1, "stable", 100), (2, "canary", 100)]
    assert [v.version for v in (await report(server, version=2)).versions] == [2]
    early = {"start_time": time_to_pb(START_US), "end_time": time_to_pb(START_US + 2 * MINUTE_US)}
    late = {"start_time": time_to_pb(START_US + 2 * MINUTE_US)}
    halves = [(await report(server, version=1, **times)).versions[0].total.num_predictions for times in (early, late)]
    assert sum(halves) == 100
    assert all(halves)


async def test_errors_are_counted_by_code_and_unlabelled_shares_are_unset(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(34 * n)) for n in range(3)])
    world.drain(log, store)
    total = (await report(server)).versions[0].total
    assert dict(total.errors_by_code) == {"DEADLINE_EXCEEDED": 3}
    assert (total.num_predictions, total.num_errors, total.num_labelled) == (3, 3, 0)
    unset = ("accuracy", "macro_recall", "coverage", "covered_accuracy")
    assert not any(total.HasField(field) for field in unset)


async def test_freshness_says_how_far_behind_and_what_is_odd(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in (1, 1, 2)])
    log.write(PREDICTIONS, [Message(key=b"k", value=b"\xff")])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in (1, 50, 51)])
    before = (await report(server)).freshness
    assert before == pb.ReportFreshness(predictions_lag=4, feedback_lag=3)
    world.drain(log, store)
    after = (await report(server)).freshness
    assert after == pb.ReportFreshness(num_duplicates=1, num_dead_letters=1, num_unjoined_feedback=2)


async def test_a_tenant_sees_nothing_of_another(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(n, tenant="acme")) for n in (1, 1)])
    log.write(FEEDBACK, [world.message(world.feedback(n, tenant="acme")) for n in (1, 9)])
    # Another tenant's label for the same request id joins nothing.
    log.write(FEEDBACK, [world.message(world.feedback(1, tenant="other", true_label="planted"))])
    world.drain(log, store)
    assert (await report(server, tenant="third")) == pb.GetReportResponse(freshness=pb.ReportFreshness())
    other = await report(server, tenant="other")
    assert not other.versions
    assert other.freshness == pb.ReportFreshness(num_unjoined_feedback=1)
    own = (await report(server, tenant="acme")).versions[0].total
    assert "planted" not in {cell.true_label for cell in own.confusion}


async def test_an_operators_metadata_does_not_change_its_tenant(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(1))])
    world.drain(log, store)
    async with server.channel("operator", tenant="other") as channel:
        with calling_as("acme"):
            answer = await pb_grpc.MonitorServiceStub(channel).GetReport(pb.GetReportRequest(model="r8"))
    assert not answer.versions


async def test_the_gateway_reads_for_the_tenant_it_serves(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(1))])
    world.drain(log, store)
    async with server.channel("gateway") as channel:
        stub = pb_grpc.MonitorServiceStub(channel)
        with calling_as("acme"):
            assert len((await stub.GetReport(pb.GetReportRequest(model="r8"))).versions) == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetReport(pb.GetReportRequest(model="r8"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("identity", ["worker", "trainer", "registry", "launcher", "tokenizer"])
async def test_other_identities_may_not_read_reports(server, identity):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await report(server, identity=identity, tenant="")
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_every_method_needs_a_token(server):
    assert set(POLICY) == {name for name in server.server.methods if "MonitorService" in name}
    async with grpc.aio.insecure_channel(server.target) as channel:
        for method in POLICY:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(method)(b"\xff")
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("request_fields", "word"),
    [
        ({"model": ""}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"version": -1}, "version"),
        ({"start_time": time_to_pb(2), "end_time": time_to_pb(2)}, "start_time"),
        ({"start_time": {"nanos": -1}}, "start_time"),
    ],
)
async def test_a_request_outside_its_limits_names_the_field(server, request_fields, word):
    with pytest.raises(grpc.aio.AioRpcError, match=word) as refused:
        await report(server, **request_fields)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_more_windows_than_fit_are_refused_with_the_limit(world, log, store, server):
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(100)])
    world.drain(log, store)
    with pytest.raises(grpc.aio.AioRpcError, match="at most 5"):
        await report(server, with_windows=True)
    assert len((await report(server, with_windows=True, version=1)).versions[0].windows) == 5
