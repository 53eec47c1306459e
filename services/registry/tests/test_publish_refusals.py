# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who may publish what: a job to its own model, and nobody a version that no worker could load."""

import grpc
import pytest

from dragoman.registry.v1 import registry_pb2_grpc
from dragoman_common.channel import connect
from dragoman_common.clock import SystemClock
from dragoman_common.service_keys import FixedToken


async def test_a_training_jobs_version_carries_the_job_of_its_token(registry, make, refused):
    keys = registry.server.keys
    token = keys.key("launcher").token(
        audience="registry", clock=SystemClock(), tenant="acme", identity="trainer", job_id="job-7", job_model="r8"
    )
    async with connect(registry.server.target, audience="registry", tokens=FixedToken(token)) as channel:
        publish = registry_pb2_grpc.RegistryServiceStub(channel).PublishVersion

        def messages(job_id: str, model: str = "r8"):
            first, *rest = make.upload(make.good(), model=model)
            first.header.lineage.job_id = job_id
            return iter([first, *rest])

        async with refused("PERMISSION_DENIED", "token is for model r8, not other"):
            await publish(messages("job-7", model="other"))
        async with refused("PERMISSION_DENIED", "job-7"):
            await publish(messages("job-8"))
        version = (await publish(messages(""))).version
        assert (version.lineage.job_id, version.publisher) == ("job-7", "trainer:job-7")


async def test_a_version_that_no_worker_could_load_is_refused(client, make, refused):
    good = make.good()
    cut = good | {"weights.safetensors": good["weights.safetensors"][:100]}
    other_labels = good | {"weights.safetensors": make.files(labels=("a", "b"))["weights.safetensors"]}
    misspelt = good | {"model.json": good["model.json"].replace(b'"linear"', b'"linera"')}
    without = {path: data for path, data in good.items() if path != "weights.safetensors"}
    for number, (files, reason) in enumerate(
        [
            (cut, "weights.safetensors"),
            (other_labels, "coefficients is F32 [2, 2], the architecture needs F32 [2, 3]"),
            (misspelt, "architecture 'linera' is unknown; known: linear, rnn"),
            (without, "a version needs weights.safetensors"),
        ]
    ):
        async with refused("INVALID_ARGUMENT", reason):
            await client.publish(files, publish_id=f"p{number}")
    with pytest.raises(grpc.RpcError):
        await client.get(1)
