# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Real child processes: what a job is given, how it ends, that all of it ends, that nobody else is ever hit."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from dragoman_launcher import process_identity
from dragoman_launcher.contracts import spec
from dragoman_launcher.job import Publication, TrainingJob
from dragoman_launcher.job_folder import JobFolder
from dragoman_launcher.job_process import read_claim, write_claim
from dragoman_launcher.outcome import JobResult, Verdict
from dragoman_launcher.ports import JobStartError
from dragoman_launcher.process import ProcessJobRunner
from dragoman_launcher.process_identity import ProcessName, name_of, open_process, signal_group
from dragoman_launcher.trainer_environment import Places, job_environment, mark

JOB = TrainingJob.created(spec(effective_recipe="data: {name: r8}\nseed: 7\n"))
PLACES = Places(data_dir="/data", launcher_target="127.0.0.1:1", registry_target="127.0.0.1:2")

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".tmp", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
while True:
    time.sleep(60)
"""
FAMILY = f"""
import subprocess
# One with another environment and one with the job's; both ignore SIGTERM, and both belong to the job.
subprocess.Popen([sys.executable, "-S", "-c", {STUBBORN!r}, "a.pid"], env={{}})
subprocess.Popen([sys.executable, "-S", "-c", {STUBBORN!r}, "b.pid"])
"""
IGNORES_SIGTERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
RUNS_ON = "open('runs', 'w').close()\nwhile True: time.sleep(60)\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jobs").mkdir()
    return JobFolder.of(tmp_path / "jobs", JOB.id)


@pytest.fixture
async def make_runner(tmp_path, folder):
    runners = []

    def make(command):
        runner = ProcessJobRunner(
            jobs_dir=folder.path.parent,
            command=command,
            places=lambda: PLACES,
            token=lambda job: f"token of {job.id}",
            environ=os.environ | {"AWS_SECRET_ACCESS_KEY": "canary", "DRAGOMAN_LAUNCHER_X": "1"},
        )
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        async with asyncio.timeout(30):
            await runner.stop(JOB.id, 0)
        runner.close()


async def outcome_of(runner):
    async with asyncio.timeout(30):
        return await runner.wait(JOB.id)


def is_gone(pid):
    found = process_identity.stat(pid)
    return found is None or found.state in "ZX"


async def test_a_job_gets_its_recipe_its_token_and_no_secret_of_ours(make_runner, trainer, folder):
    body = "print(json.dumps(dict(os.environ)), recipe, open(out['TOKEN_FILE']).read(), os.getcwd(), sep='\\n')"
    runner = make_runner(trainer(body))

    await runner.start(JOB)
    await outcome_of(runner)

    environment, *rest = (await runner.read_log(JOB.id, 0, 10_000)).decode().splitlines()
    assert rest == ["data: {name: r8}", "seed: 7", "", f"token of {JOB.id}", str(folder.output)]
    assert "canary" not in environment
    expected = job_environment(JOB, folder, PLACES, os.environ)
    # What the interpreter itself may add.
    assert {k: v for k, v in json.loads(environment).items() if k != "LC_CTYPE"} == expected


def test_the_environment_of_a_job_is_this_and_nothing_else(folder):
    environ = {"PATH": "/bin", "HOME": "/h", "SECRET": "s", "PYTHONPATH": "/x", "DRAGOMAN_TRAINER_MODEL": "mine"}

    assert job_environment(JOB, folder, PLACES, environ) == {
        "PATH": "/bin",
        "HOME": "/h",
        "PYTHONUNBUFFERED": "1",
        "DRAGOMAN_TRAINER_JOB_ID": JOB.id,
        "DRAGOMAN_TRAINER_TENANT": "acme",
        "DRAGOMAN_TRAINER_MODEL": "r8",
        "DRAGOMAN_TRAINER_RECIPE_FILE": str(folder.recipe),
        "DRAGOMAN_TRAINER_DATA_DIR": "/data",
        "DRAGOMAN_TRAINER_OUTPUT_DIR": str(folder.output),
        "DRAGOMAN_TRAINER_RESULT_FILE": str(folder.result),
        "DRAGOMAN_TRAINER_CHECKPOINT_INTERVAL_S": "60",
        "DRAGOMAN_TRAINER_TOKEN_FILE": str(folder.token),
        "DRAGOMAN_TRAINER_LAUNCHER_TARGET": "127.0.0.1:1",
        "DRAGOMAN_TRAINER_REGISTRY_TARGET": "127.0.0.1:2",
    }


def test_job_is_told_what_to_trust_where_the_platform_speaks_tls(tmp_path):
    folder = JobFolder.of(tmp_path, JOB.id)
    places = dataclasses.replace(PLACES, tls_ca_file="/tls/ca.crt")
    told = job_environment(JOB, folder, places, {})
    assert told["DRAGOMAN_TRAINER_TLS_CA_FILE"] == "/tls/ca.crt"
    assert "DRAGOMAN_TRAINER_TLS_CA_FILE" not in job_environment(JOB, folder, PLACES, {})


async def test_files_of_a_job_are_for_their_owner_only_and_the_token_goes_with_the_job(
    make_runner, trainer, folder, eventually
):
    runner = make_runner(trainer(RUNS_ON))
    await runner.start(JOB)
    await eventually((folder.output / "runs").exists, "the job runs")
    modes = {path.stat().st_mode & 0o077 for path in (folder.path, folder.run, folder.token, folder.recipe, folder.log)}

    await runner.stop(JOB.id, 5)

    assert modes == {0}
    assert not folder.token.exists()


async def test_the_result_of_a_job_is_read(make_runner, trainer):
    runner = make_runner(
        trainer("finish('succeeded', message='m', published_version=3, published_root_sha256='a' * 64)")
    )
    await runner.start(JOB)

    outcome = await outcome_of(runner)

    publication = Publication(version=3, root_sha256="a" * 64)
    assert outcome.result == JobResult(verdict=Verdict.SUCCEEDED, message="m", publication=publication)
    assert outcome.exit == "exit code 0"


async def test_a_killed_job_has_no_result_and_its_log_stays(make_runner, trainer, folder, eventually):
    runner = make_runner(trainer("print('epoch 1')\nprint('epoch 2', file=sys.stderr)\n" + RUNS_ON))
    await runner.start(JOB)
    await eventually((folder.output / "runs").exists, "the job runs")
    _, name = read_claim(folder.process)

    os.kill(name.pid, signal.SIGKILL)

    outcome = await outcome_of(runner)
    assert (outcome.result, outcome.exit, outcome.log_tail) == (None, "signal SIGKILL", "epoch 1\nepoch 2")
    assert await runner.read_log(JOB.id, 0, 1000) == b"epoch 1\nepoch 2\n"


async def test_a_command_that_does_not_exist_says_so_in_the_log(make_runner):
    runner = make_runner(("/no/such/program",))
    await runner.start(JOB)

    outcome = await outcome_of(runner)

    assert outcome.exit == "exit code 127"
    assert outcome.log_tail == "cannot run /no/such/program: No such file or directory"


async def test_a_folder_that_cannot_be_made_is_why_a_job_cannot_start(make_runner, trainer, folder):
    folder.path.write_text("in the way")

    with pytest.raises(JobStartError, match="Not a directory"):
        await make_runner(trainer("")).start(JOB)
    folder.path.unlink()


@pytest.mark.parametrize("grace_s", [0.2, 5.0])
async def test_stopping_kills_the_whole_group_also_what_ignores_sigterm(
    make_runner, trainer, folder, eventually, grace_s
):
    ignore = IGNORES_SIGTERM if grace_s < 1 else ""
    runner = make_runner(trainer(ignore + FAMILY + RUNS_ON))
    await runner.start(JOB)
    pids = [int(await eventually(lambda name=name: read(folder.output / name), name)) for name in ("a.pid", "b.pid")]
    await eventually((folder.output / "runs").exists, "the job runs")

    async with asyncio.timeout(30):
        await runner.stop(JOB.id, grace_s)

    assert all(map(is_gone, pids))
    assert (await outcome_of(runner)).exit == ("signal SIGKILL" if ignore else "signal SIGTERM")


async def test_what_a_job_leaves_running_at_its_end_is_killed(make_runner, trainer, folder, eventually):
    wait = "wait_for('a.pid')\nwait_for('b.pid')\nfinish('succeeded')\n"
    runner = make_runner(trainer(FAMILY + wait))
    await runner.start(JOB)

    outcome = await outcome_of(runner)

    assert outcome.exit == "exit code 0"
    assert all(is_gone(int(read(folder.output / name))) for name in ("a.pid", "b.pid"))


async def test_the_next_launcher_adopts_a_running_job_and_sees_it_end(make_runner, trainer, folder, eventually):
    first = make_runner(trainer("open('runs', 'w').close()\nwait_for('go')\nfinish('succeeded')\n"))
    await first.start(JOB)
    await eventually((folder.output / "runs").exists, "the job runs")
    first.close()
    second = make_runner(("never started",))

    assert await second.adopt(JOB.id)
    waiting = asyncio.create_task(outcome_of(second))
    (folder.output / "go").touch()

    assert (await waiting).result.verdict is Verdict.SUCCEEDED


async def test_a_second_launcher_that_starts_the_job_again_takes_over_the_first_ones_process(
    make_runner, trainer, folder, eventually
):
    command = trainer("open('runs', 'a').write(str(os.getpid()) + '\\n')\nwait_for('go')\nfinish('succeeded')\n")
    first, second = make_runner(command), make_runner(command)
    await first.start(JOB)
    await eventually(lambda: read(folder.output / "runs"), "the job runs")

    # The second did not see the first one's claim, as after a crash right behind the spawn.
    await second.start(JOB)
    waiting = asyncio.create_task(outcome_of(second))
    await eventually(lambda: second._processes[JOB.id].name == read_claim(folder.process)[1], "the loser is put away")
    (folder.output / "go").touch()

    assert (await waiting).result.verdict is Verdict.SUCCEEDED
    assert len(read(folder.output / "runs").splitlines()) == 1


async def test_a_recycled_pid_is_taken_for_gone_and_is_not_signalled(make_runner, folder):
    # Blocks for no longer than a spawn; the test needs a process that asyncio does not reap behind its back.
    stranger = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        true = name_of(stranger.pid)
        stale = ProcessName(boot_id=true.boot_id, pid=true.pid, start_ticks=true.start_ticks - 1)
        folder.make(folder.run)
        write_claim(folder.process, stale)
        runner = make_runner(("never started",))

        assert await runner.adopt(JOB.id)
        await runner.stop(JOB.id, 0)
        outcome = await outcome_of(runner)

        assert outcome.result is None
        assert "exit code is unknown" in outcome.exit
        assert stranger.poll() is None
        assert open_process(stale) is None
        assert signal_group(stale, mark(JOB.id), signal.SIGKILL) == 0
        assert signal_group(true, mark(JOB.id), signal.SIGKILL) == 1
        assert stranger.wait(30) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.communicate()


async def test_a_claim_that_does_not_read_is_never_run_again(make_runner, trainer, folder):
    folder.make(folder.run)
    folder.process.write_text("{}")
    runner = make_runner(trainer("open('runs', 'w').close()"))

    assert await runner.adopt(JOB.id)
    assert (await outcome_of(runner)).result is None
    assert not (folder.output / "runs").exists()


def read(path):
    return path.read_text() if path.exists() else ""
