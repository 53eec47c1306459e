# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher over gRPC: a real server, real child processes, a real folder, a real event log."""

import asyncio
import os
from contextlib import asynccontextmanager

import grpc
import pytest

from dragoman.events.v1 import events_pb2
from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1.launcher_pb2_grpc import LauncherServiceStub, add_LauncherServiceServicer_to_server
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.server import Service
from dragoman_common.service_keys import FixedToken
from dragoman_common.testing import TestKeys, running
from dragoman_events import topics
from dragoman_events.message_event import message_of
from dragoman_events.sqlite_log import SqliteEventLog
from dragoman_launcher.announcer import Announcer
from dragoman_launcher.event_log import EventLogJobEvents
from dragoman_launcher.folder_store import FolderJobStore
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.process import ProcessJobRunner
from dragoman_launcher.servicer import POLICY, LauncherServicer
from dragoman_launcher.trainer_environment import Places

RECIPE = "data: {name: r8}\nseed: 1\n"
HOLD = "print('hello', flush=True)\nwait_for('go')\nprint('bye')\nfinish('succeeded')\n"


class Served:
    """A served launcher and its callers."""

    def __init__(self, server, launcher, log, jobs_dir):
        self.server, self.launcher, self.log, self.jobs_dir = server, launcher, log, jobs_dir

    @asynccontextmanager
    async def as_operator(self, tenant="acme"):
        async with self.server.channel("operator", tenant=tenant) as channel:
            yield LauncherServiceStub(channel)

    @asynccontextmanager
    async def as_job(self, job_id, tenant="acme"):
        token = self.server.keys.key("launcher").token(
            audience=("launcher", "registry"), clock=SystemClock(), tenant=tenant, job_id=job_id, identity="trainer"
        )
        async with connect(self.server.target, audience="launcher", tokens=FixedToken(token)) as channel:
            yield LauncherServiceStub(channel)

    def folder(self, job):
        return JobFolder.of(self.jobs_dir, job.id)


@pytest.fixture
async def serve(tmp_path, launch):
    jobs_dir = tmp_path / "jobs"
    jobs_dir.mkdir()

    @asynccontextmanager
    async def make(command):
        runner = ProcessJobRunner(
            jobs_dir=jobs_dir,
            command=command,
            places=lambda: Places(data_dir="/data", launcher_target="127.0.0.1:1", registry_target="127.0.0.1:2"),
            token=lambda job: "token",
            environ=os.environ,
        )
        launcher = await launch(
            store=FolderJobStore(jobs_dir), runner=runner, clock=SystemClock(), check_interval_s=0.05
        )
        log = SqliteEventLog(tmp_path / "events.db")
        announcer = Announcer(launcher.catalogue, launcher.store, EventLogJobEvents(log))
        announcing = asyncio.create_task(announcer.run())
        servicer = LauncherServicer(
            catalogue=launcher.catalogue,
            submission=launcher.submission,
            supervisor=launcher.supervisor,
            runner=runner,
            clock=SystemClock(),
        )
        service = Service(register=add_LauncherServiceServicer_to_server, servicer=servicer)
        async with running([service], POLICY, name="launcher", keys=TestKeys()) as server:
            try:
                yield Served(server, launcher, log, jobs_dir)
            finally:
                await launcher.supervisor.drain("the test is over")
                announcing.cancel()
                await launcher.supervisor.close()
                runner.close()
                log.close()

    return make


async def submitted(stub, request_id="r1", **more):
    given = {"model": "r8", "recipe": RECIPE} | more
    return await stub.SubmitJob(pb.SubmitJobRequest(request_id=request_id, **given))


async def ended(stub, job):
    states = [reply.job async for reply in stub.WatchJob(pb.WatchJobRequest(id=job.id), timeout=60)]
    return states[-1]


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details()


async def test_a_job_runs_from_submission_to_its_end_and_all_of_it_can_be_followed(serve, trainer, eventually):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        answer = await submitted(stub, overrides={"seed": "2"})
        assert answer.created
        assert (answer.job.tenant, answer.job.submitted_by, answer.job.recipe) == ("acme", "operator", RECIPE)
        watch = stub.WatchJob(pb.WatchJobRequest(id=answer.job.id), timeout=60)
        while (await watch.read()).job.state != pb.JOB_STATE_RUNNING:
            pass
        follow = stub.ReadJobLog(pb.ReadJobLogRequest(id=answer.job.id, follow=True), timeout=60)
        assert (await follow.read()).data == b"hello\n"

        (served.folder(answer.job).output / "go").touch()

        rest = [reply async for reply in follow]
        assert (b"".join(reply.data for reply in rest), rest[-1].next_offset_bytes) == (b"bye\n", 10)
        states = [reply.job.state async for reply in watch]
        assert states == [pb.JOB_STATE_SUCCEEDED]
        job = (await stub.GetJob(pb.GetJobRequest(id=answer.job.id))).job
        assert job.create_time.ToDatetime() <= job.start_time.ToDatetime() <= job.end_time.ToDatetime()
        assert (served.folder(job).recipe).read_text() == "data:\n  name: r8\nseed: 2\n"


async def test_every_state_is_in_the_event_log_once_and_in_order(serve, trainer, eventually):
    async with serve(trainer("finish('succeeded')")) as served, served.as_operator() as stub:
        job = (await submitted(stub)).job
        await ended(stub, job)

        def events():
            records = served.log.read(topics.JOBS, 0, 100)
            changes = [message_of(record.event(), events_pb2.JobChanged) for record in records]
            return changes if changes and changes[-1].state == "SUCCEEDED" else []

        changes = await eventually(events, "the end is announced")
        ids = [record.event().id for record in served.log.read(topics.JOBS, 0, 100)]

    assert {(change.tenant, change.job_id, change.model) for change in changes} == {("acme", job.id, "r8")}
    assert [change.state for change in changes] == sorted(
        (c.state for c in changes), key="PENDING RUNNING SUCCEEDED".index
    )
    assert len(set(ids)) == len(ids)


async def test_sixteen_racers_get_one_job_and_one_is_told_that_it_made_it(serve, trainer):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        answers = await asyncio.gather(*(submitted(stub, "same") for _ in range(16)))

        assert [answer.created for answer in answers].count(True) == 1
        assert len({answer.job.id for answer in answers}) == 1
        assert len((await stub.ListJobs(pb.ListJobsRequest())).jobs) == 1


async def test_a_failed_job_keeps_its_log_and_says_its_last_lines(serve, trainer):
    async with serve(trainer("print('row 17 is empty')\nraise SystemExit(1)")) as served, served.as_operator() as stub:
        job = await ended(stub, (await submitted(stub)).job)

        assert job.state == pb.JOB_STATE_FAILED
        assert job.message == "The job ended without a result (exit code 1). Its last lines:\nrow 17 is empty"
        replies = [reply async for reply in stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id, offset_bytes=4))]
        assert b"".join(reply.data for reply in replies) == b"17 is empty\n"


async def test_cancelling_stops_the_process_and_says_the_reason(serve, trainer, eventually):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        job = (await submitted(stub)).job
        await eventually(lambda: served.folder(job).log.exists() and served.folder(job).log.stat().st_size, "it runs")

        asked = (await stub.CancelJob(pb.CancelJobRequest(id=job.id, reason="wrong data"))).job

        assert asked.message in ("stopping: wrong data", "wrong data")
        job = await ended(stub, job)
        assert (job.state, job.message) == (pb.JOB_STATE_CANCELLED, "wrong data")
        assert (await stub.CancelJob(pb.CancelJobRequest(id=job.id, reason="again"))).job == job


async def test_a_job_reports_progress_with_its_own_token_and_learns_that_it_is_cancelled(serve, trainer, eventually):
    async with serve(trainer("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HOLD)) as served:
        async with served.as_operator() as stub:
            job = (await submitted(stub)).job
            progress = pb.Progress(stage="train", epoch=2, num_epochs=3, step=5, num_steps=9, metrics={"loss": 0.25})
            progress.eta.FromSeconds(90)
            async with served.as_job(job.id) as own:
                answer = await own.ReportProgress(pb.ReportProgressRequest(id=job.id, progress=progress))
                assert not answer.is_cancelled
                seen = (await stub.GetJob(pb.GetJobRequest(id=job.id))).job.progress
                assert seen.report_time.seconds
                seen.ClearField("report_time")
                assert seen == progress

                await own.ReportProgress(
                    pb.ReportProgressRequest(id=job.id, published_version=7, published_root_sha256="d" * 64)
                )
                await stub.CancelJob(pb.CancelJobRequest(id=job.id))
                assert (await own.ReportProgress(pb.ReportProgressRequest(id=job.id))).is_cancelled
            (served.folder(job).output / "go").touch()
            job = await ended(stub, job)
            assert (job.published_version, job.published_root_sha256) == (7, "d" * 64)


@pytest.mark.parametrize("who", ["another job", "another tenant", "an unknown job"])
async def test_progress_of_a_job_is_taken_from_that_job_only(serve, trainer, who):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        job = (await submitted(stub)).job
        other = (await submitted(stub, "r2")).job
        token_job, tenant, named = {
            "another job": (other.id, "acme", job.id),
            "another tenant": (job.id, "bolt", job.id),
            "an unknown job": ("job-" + "0" * 32, "acme", "job-" + "0" * 32),
        }[who]

        async with served.as_job(token_job, tenant) as stranger:
            code, _ = await refusal(stranger.ReportProgress(pb.ReportProgressRequest(id=named)))

        assert code is grpc.StatusCode.NOT_FOUND


async def test_the_operator_does_not_report_and_a_job_does_nothing_else(serve, trainer):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        job = (await submitted(stub)).job
        code, _ = await refusal(stub.ReportProgress(pb.ReportProgressRequest(id=job.id)))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        async with served.as_job(job.id) as own:
            for call in (
                own.GetJob(pb.GetJobRequest(id=job.id)),
                own.SubmitJob(pb.SubmitJobRequest()),
                own.CancelJob(pb.CancelJobRequest(id=job.id)),
            ):
                assert (await refusal(call))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_every_method_wants_a_token_and_has_a_policy_row(serve, trainer):
    async with serve(trainer(HOLD)) as served, grpc.aio.insecure_channel(served.server.target) as channel:
        ours = {method for method in served.server.server.methods if method.startswith("/dragoman.launcher")}
        assert ours == set(POLICY)
        for method in ours:
            # Also the streaming ones refuse before they read a message.
            code, _ = await refusal(channel.unary_unary(method)(b""))
            assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_another_tenants_job_does_not_exist(serve, trainer):
    async with serve(trainer(HOLD)) as served, served.as_operator("acme") as acme, served.as_operator("bolt") as bolt:
        job = (await submitted(acme)).job
        unknown = "job-" + "0" * 32

        for name in (job.id, unknown, "../../etc/passwd", ""):
            for call in (
                bolt.GetJob(pb.GetJobRequest(id=name)),
                bolt.CancelJob(pb.CancelJobRequest(id=name)),
                bolt.WatchJob(pb.WatchJobRequest(id=name)).read(),
                bolt.ReadJobLog(pb.ReadJobLogRequest(id=name)).read(),
            ):
                code, details = await refusal(call)
                assert code is grpc.StatusCode.NOT_FOUND
                assert details == f"There is no job {name!r}."
        assert not (await bolt.ListJobs(pb.ListJobsRequest())).jobs
        assert (await submitted(bolt)).created
        assert (await acme.GetJob(pb.GetJobRequest(id=job.id))).job.state != pb.JOB_STATE_CANCELLED


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"request_id": ""}, "request_id"),
        ({"model": "../r8"}, "model must have"),
        ({"recipe": "data: {name: r8\n"}, "recipe, line 2"),
        ({"recipe": "data: {name: r52}\n"}, "'r52' is not in the data folder"),
        ({"recipe": RECIPE + "x: refuse me\n"}, "'refuse me' is not allowed"),
        ({"recipe": "x: " + "y" * 70_000}, "at most 65536"),
        ({"overrides": {"seed.x": "1"}}, "overrides.seed.x"),
    ],
)
async def test_a_bad_submission_is_an_invalid_argument_and_makes_no_job(serve, trainer, request_, said):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        code, details = await refusal(submitted(stub, **({"request_id": "r1"} | request_)))

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert said in details
        assert not (await stub.ListJobs(pb.ListJobsRequest())).jobs
        assert not list(served.jobs_dir.glob("job-*"))


async def test_a_negative_offset_or_page_is_refused(serve, trainer):
    async with serve(trainer(HOLD)) as served, served.as_operator() as stub:
        job = (await submitted(stub)).job
        for call in (
            stub.ReadJobLog(pb.ReadJobLogRequest(id=job.id, offset_bytes=-1)).read(),
            stub.ListJobs(pb.ListJobsRequest(page_size=-1)),
            stub.ListJobs(pb.ListJobsRequest(page_token="x")),
        ):
            assert (await refusal(call))[0] is grpc.StatusCode.INVALID_ARGUMENT
