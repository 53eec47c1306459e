# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""GetFileUrl where the store has URLs and where it has none; on a real store in test_s3_process."""

import pytest

from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_registry.memory import MemoryStore


class WithUrls(MemoryStore):
    async def presigned_url(self, key: str, *, lifetime_s: int) -> str | None:
        return f"http://store/{key}?for={lifetime_s}"


async def url(client, *, model: str = "r8", number: int = 1, path: str = "model.json") -> str:
    request = pb.GetFileUrlRequest(model=model, number=number, path=path)
    return (await client.stub.GetFileUrl(request, timeout=20)).url


async def test_a_store_without_urls_says_so_and_names_the_way_that_works(client, make, refused):
    await client.publish(make.good())
    async with refused("UNIMPLEMENTED", "DownloadFile"):
        await url(client)


async def test_a_url_leads_to_the_content_of_a_listed_file_only(start, make, refused):
    async with start(WithUrls()) as registry, registry.client() as client:
        files = make.good()
        await client.publish(files)
        assert (await url(client)).endswith(f"{make.digests(files)[0].sha256}?for=300")
        for wrong in ({"path": "../x"}, {"path": ""}, {"number": 2}, {"model": "other"}):
            async with refused("NOT_FOUND"):
                await url(client, **wrong)
        async with registry.client(tenant="globex") as stranger:
            async with refused("NOT_FOUND"):
                await url(stranger)


@pytest.mark.parametrize("identity", ["registry", "autoscaler"])
async def test_who_may_not_download_gets_no_url(registry, refused, identity):
    async with registry.client(identity) as client:
        async with refused("PERMISSION_DENIED"):
            await url(client)
