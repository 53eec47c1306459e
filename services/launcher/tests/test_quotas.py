# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What one tenant may have of the launcher, and that it does not cost the others anything."""

import asyncio

import pytest

from dragoman_common.errors import OverloadedError
from dragoman_launcher.job import JobState
from dragoman_launcher.quota import Quota, Quotas


async def submitted(launcher, tenant, number):
    return [(await launcher.submit(f"r{n}", tenant=tenant))[0] for n in range(number)]


def running_of(launcher, tenant):
    jobs = launcher.catalogue.page(tenant, 0, "")[0]
    return sorted(job.spec.request_id for job in jobs if job.id in launcher.runner.started and not job.is_ended)


async def test_a_tenant_over_its_running_quota_waits_and_those_behind_it_do_not(launch):
    launcher = await launch(max_running=3, quotas=["acme=running:1"])
    first, *_ = await submitted(launcher, "acme", 3)
    others = await submitted(launcher, "bolt", 2)
    for job in (first, *others):
        await launcher.running(job)
    assert running_of(launcher, "acme") == ["r0"]

    launcher.runner.succeed(others[0].id)
    await launcher.ended(others[0])
    assert running_of(launcher, "acme") == ["r0"]

    launcher.runner.succeed(first.id)
    await launcher.ended(first)
    second = launcher.catalogue.page("acme", 0, "")[0][1]
    await launcher.running(second)
    assert second.spec.request_id == "r1"


async def test_a_tenant_over_its_waiting_quota_is_refused_by_the_name_of_the_limit(launch):
    launcher = await launch(quotas=["*=pending:2"])
    await submitted(launcher, "acme", 3)

    with pytest.raises(OverloadedError, match=r"2 jobs of tenant acme .* its quota \(pending\)") as refusal:
        await launcher.submit("r3")
    assert refusal.value.retry_after_s == 30
    assert len(await submitted(launcher, "bolt", 2)) == 2
    # A repeat of what was accepted is answered all the same.
    assert not (await launcher.submit("r2"))[1]


async def test_racing_submissions_do_not_pass_the_waiting_quota(launch):
    launcher = await launch(quotas=["acme=running:1;pending:3"])

    answers = await asyncio.gather(*(launcher.submit(f"r{n}") for n in range(12)), return_exceptions=True)

    accepted = [answer for answer in answers if not isinstance(answer, OverloadedError)]
    assert 3 <= len(accepted) <= 4
    assert launcher.queue.num_pending <= 3


async def test_gpus_of_running_jobs_stay_within_the_quota(launch):
    launcher = await launch(max_running=9, quotas=["acme=gpus:5", "bolt=gpus:1"], gpus=2)
    jobs = await submitted(launcher, "acme", 3)
    for job in jobs[:2]:
        await launcher.running(job)
    assert launcher.catalogue.find(jobs[2].id).state is JobState.PENDING

    with pytest.raises(OverloadedError, match=r"quota of tenant bolt is 1 GPUs \(gpus\), and each job takes 2"):
        await launcher.submit("r0", tenant="bolt")


async def test_quotas_hold_for_jobs_that_a_launcher_finds_running(launch):
    first = await launch(max_running=2)
    jobs = await submitted(first, "acme", 3)
    for job in jobs[:2]:
        await first.running(job)
    await first.supervisor.close()

    second = await launch(store=first.store, runner=first.runner, max_running=9, quotas=["acme=running:2"])
    assert second.queue.num_pending == 1
    first.runner.succeed(jobs[0].id)
    await second.ended(jobs[0])
    await second.running(jobs[2])


def test_quotas_are_read_and_mistakes_are_named():
    quotas = Quotas.parse(["acme=running:2;gpus:4", "*=pending:0"])
    assert quotas.of("acme") == Quota(running=2, gpus=4)
    assert quotas.of("bolt") == Quota(pending=0)
    assert Quotas.parse([]).of("bolt") == Quota()
    bad = ("acme", "acme=", "acme=runing:1", "acme=running:x", "acme=running:-1", "A=running:1", "acme=gpus:1;gpus:2")
    for entry in bad:
        with pytest.raises(ValueError, match="tenant_quotas"):
            Quotas.parse([entry])
    with pytest.raises(ValueError, match="appears twice"):
        Quotas.parse(["acme=gpus:1", "acme=gpus:2"])
