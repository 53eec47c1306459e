# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The launcher as the process that it is: killed and started again, told to stop, started wrongly."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1.launcher_pb2_grpc import LauncherServiceStub
from dragoman_common.channel import connect
from dragoman_common.testing import TestKeys
from dragoman_launcher import process_identity
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.job_process import read_claim

RECIPE = "data: {name: r8}\n"
HOLD = "open('runs', 'a').write('x')\nwait_for('go')\nfinish('succeeded')\n"


class Home:
    """Where launchers of one installation run, one after the other."""

    host = "127.0.0.1"

    def __init__(self, folder, command, eventually):
        self.folder, self.eventually = folder, eventually
        self.keys = TestKeys()
        for name in ("keys", "data", "data/r8"):
            (folder / name).mkdir()
        self.keys.key("launcher").save(folder / "keys")
        self.keys.trust.save(folder / "keys/trust.json")
        self.environ = {
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "DRAGOMAN_LAUNCHER_READY_FILE": str(folder / "ready.json"),
            "DRAGOMAN_LAUNCHER_KEY_FILE": str(folder / "keys/launcher.pem"),
            "DRAGOMAN_LAUNCHER_TRUST_FILE": str(folder / "keys/trust.json"),
            "DRAGOMAN_LAUNCHER_JOBS_DIR": str(folder / "jobs"),
            "DRAGOMAN_LAUNCHER_DATA_DIR": str(folder / "data"),
            "DRAGOMAN_LAUNCHER_EVENTS_URL": f"sqlite://{folder}/events.db",
            "DRAGOMAN_LAUNCHER_REGISTRY_TARGET": "127.0.0.1:1",
            "DRAGOMAN_LAUNCHER_COMMAND": ",".join(command),
            "DRAGOMAN_LAUNCHER_DRAIN_GRACE_MS": "1000",
        }

    def job_folder(self, job):
        return JobFolder.of(self.folder / "jobs", job.id)

    @asynccontextmanager
    async def launcher(self):
        """Run a launcher and give its process and a stub; it is ended at the end, gently if that works."""
        with (self.folder / "launcher.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "dragoman_launcher", env=self.environ, stderr=log
            )
        try:
            ready = await self.eventually(lambda: self.ready(process), "the launcher listens")
            tokens = self.keys.tokens("operator", tenant="acme")
            async with connect(f"{self.host}:{ready['port']}", audience="launcher", tokens=tokens) as channel:
                yield process, LauncherServiceStub(channel)
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(60):
                await process.wait()

    def ready(self, process):
        assert process.returncode is None, (self.folder / "launcher.log").read_text()
        path = self.folder / "ready.json"
        ready = json.loads(path.read_text()) if path.exists() else {}
        return ready if ready.get("pid") == process.pid else None


@pytest.fixture
def home(tmp_path, trainer, eventually):
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder, trainer(HOLD), eventually)


async def submit(stub, request_id="r1"):
    return await stub.SubmitJob(pb.SubmitJobRequest(request_id=request_id, model="r8", recipe=RECIPE))


async def ended(stub, job):
    return [reply.job async for reply in stub.WatchJob(pb.WatchJobRequest(id=job.id), timeout=60)][-1]


async def runs(home, job):
    await home.eventually((home.job_folder(job).output / "runs").exists, "the job runs")
    return read_claim(home.job_folder(job).process)[1]


async def test_a_killed_launchers_job_runs_on_and_the_next_launcher_sees_it_succeed(home):
    async with home.launcher() as (process, stub):
        job = (await submit(stub)).job
        name = await runs(home, job)
        process.kill()
        await process.wait()
    assert process_identity.name_of(name.pid) == name

    async with home.launcher() as (_, stub):
        again = await submit(stub)
        assert not again.created
        assert again.job.id == job.id
        (home.job_folder(job).output / "go").touch()
        job = await ended(stub, job)

    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert (home.job_folder(job).output / "runs").read_text() == "x"


async def test_launchers_killed_at_any_moment_around_a_submission_make_and_run_one_job(home):
    # Each kill is a little later than the one before, from "before the record" to "it runs".
    for number in range(6):
        async with home.launcher() as (process, stub):
            call = asyncio.ensure_future(submit(stub, "same"))
            await asyncio.wait({call}, timeout=0.05 * number)
            process.kill()
            await asyncio.wait({call})
            call.exception()
            await process.wait()

    async with home.launcher() as (_, stub):
        job = (await submit(stub, "same")).job
        await runs(home, job)
        (home.job_folder(job).output / "go").touch()
        job = await ended(stub, job)
        jobs = (await stub.ListJobs(pb.ListJobsRequest())).jobs

    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert [found.id for found in jobs] == [job.id]
    assert (home.job_folder(job).output / "runs").read_text() == "x"


async def test_a_killed_launchers_job_that_was_killed_too_has_failed(home):
    async with home.launcher() as (process, stub):
        job = (await submit(stub)).job
        name = await runs(home, job)
        process.kill()
        await process.wait()
    os.kill(name.pid, signal.SIGKILL)

    async with home.launcher() as (_, stub):
        job = await ended(stub, job)

    assert job.state == pb.JOB_STATE_FAILED
    assert "without a result" in job.message


async def test_a_launcher_that_is_told_to_stop_cancels_what_runs_and_keeps_what_waits(home):
    async with home.launcher() as (process, stub):
        job = (await submit(stub, "r1")).job
        waiting = (await submit(stub, "r2")).job
        name = await runs(home, job)
        process.terminate()
        assert await process.wait() == 0
    assert process_identity.name_of(name.pid) != name

    async with home.launcher() as (_, stub):
        job = (await stub.GetJob(pb.GetJobRequest(id=job.id))).job
        assert (job.state, job.message) == (pb.JOB_STATE_CANCELLED, "launcher stopped")
        await runs(home, waiting)
        await stub.CancelJob(pb.CancelJobRequest(id=waiting.id))
        assert (await ended(stub, waiting)).state == pb.JOB_STATE_CANCELLED


async def test_a_recipe_that_the_trainer_refuses_is_refused_with_its_words(home):
    async with home.launcher() as (_, stub):
        request = pb.SubmitJobRequest(request_id="r1", model="r8", recipe=RECIPE + "forbidden_key: 1\n")
        with pytest.raises(Exception, match="unknown key forbidden_key; allowed are data, tokenizer"):
            await stub.SubmitJob(request)


async def test_a_second_launcher_on_the_same_folder_refuses_to_start(home):
    async with home.launcher():
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "dragoman_launcher", env=home.environ, stderr=subprocess.PIPE
        )
        _, said = await second.communicate()

    assert second.returncode == 1
    assert said.startswith(b"launcher: Another launcher works on")


def test_wrong_settings_are_all_named_at_once(tmp_path):
    environ = {"PATH": os.environ["PATH"], "DRAGOMAN_LAUNCHER_MAX_RUNNING": "many", "DRAGOMAN_LAUNCHER_COLOUR": "red"}

    done = subprocess.run(
        [sys.executable, "-P", "-m", "dragoman_launcher"], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    for said in ("MAX_RUNNING: 'many' is not a number", "COLOUR: no such setting", "EVENTS_URL: required, and not set"):
        assert said in done.stderr


def test_a_launcher_of_processes_says_that_it_needs_a_folder(home):
    del home.environ["DRAGOMAN_LAUNCHER_JOBS_DIR"]

    done = subprocess.run(
        [sys.executable, "-P", "-m", "dragoman_launcher"],
        env=home.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "with jobs_url=process://, set jobs_dir" in done.stderr
