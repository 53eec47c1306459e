# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Which process is which: claims, names that outlive pids, groups without a leader."""

import os
import select
import signal
import subprocess
import sys

from dragoman_launcher.job import job_id
from dragoman_launcher.job_process import LOST_RACE
from dragoman_launcher.process_identity import ProcessName, name_of, open_process, signal_group
from dragoman_launcher.trainer_environment import mark

JOB_ID = job_id("acme", "r1")


def test_a_process_of_an_earlier_boot_is_gone():
    own = name_of(os.getpid())

    assert open_process(ProcessName(boot_id="another", pid=own.pid, start_ticks=own.start_ticks)) is None


def test_what_is_left_of_a_group_is_found_by_its_mark_when_the_leader_is_gone():
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); sys.stdin.read()"
    leader = subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"DRAGOMAN_TRAINER_JOB_ID": JOB_ID},
    )
    name = name_of(leader.pid)
    left = os.pidfd_open(int(leader.stdout.readline()))
    leader.kill()
    leader.wait(30)

    assert signal_group(name, mark(job_id("acme", "another")), signal.SIGKILL) == 0
    assert signal_group(name, mark(JOB_ID), signal.SIGKILL) == 1

    assert select.select([left], [], [], 30)[0] == [left]
    os.close(left)
    leader.communicate()


def test_of_two_processes_for_one_job_the_second_does_nothing(tmp_path):
    claim = tmp_path / "process.json"
    command = [sys.executable, "-P", "-m", "dragoman_launcher.job_process", str(claim), str(tmp_path)]
    touch = [sys.executable, "-S", "-c", "open('ran', 'a').write('x')"]

    processes = [subprocess.Popen([*command, *touch]) for _ in range(4)]
    codes = sorted(process.wait(60) for process in processes)

    assert codes == [0, LOST_RACE, LOST_RACE, LOST_RACE]
    assert (tmp_path / "ran").read_text() == "x"
