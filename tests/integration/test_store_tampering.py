# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A writer with full access to the store, a folder or a bucket on MinIO, against a whole platform of processes.

Whatever he does: nothing of his loads or is accepted, the version in production answers every call, a log line of the
registry or a worker names the object. Then all is put back, and the platform takes it as it was.
"""

import asyncio
import contextlib
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dragoman.inference.v1 import worker_pb2
from dragoman_client.client import Client
from dragoman_client.operator_client import OperatorClient, OperatorTargets
from dragoman_client.registry_operator import RegistryOperator
from dragoman_common.errors import DataLossError, NotFoundError
from tests.integration import tamperings
from tests.integration.conftest import RECIPES
from tests.integration.installation import Installation, answers_by, free_port, until
from tests.integration.store_writer import BucketWriter, FolderWriter, StoreWriter
from tests.integration.tamperings import Scene
from tests.parts import minio as minio_part

pytestmark = pytest.mark.slow

MODEL = "victim"
FILES = ("model.json", "weights.safetensors", "tokenizer.json", "evaluation.json", "card.md")
CALLS = 20


@dataclass(frozen=True, kw_only=True)
class OnBucket(Installation):
    """An installation whose registry keeps its objects in a bucket."""

    store: Mapping[str, str]

    @property
    def environ(self) -> Mapping[str, str]:
        return {**super().environ, **self.store}


@dataclass(kw_only=True)
class Stage:
    """A platform with its store's intruder, and the versions of the scene."""

    platform: Installation
    writer: StoreWriter
    source: Path
    client: Client
    targets: OperatorTargets = field(init=False)
    older: int = 0
    good: int = 0
    gone: int = 0
    older_head: bytes = b""
    log_sizes: dict[Path, int] = field(default_factory=dict)
    num_packages: int = 0

    @asynccontextmanager
    async def operator(self, tenant: str = "local") -> AsyncIterator[tuple[OperatorClient, RegistryOperator]]:
        key = self.platform.key("operator")
        async with (
            OperatorClient(self.targets, key, tenant=tenant) as client,
            RegistryOperator(self.targets.registry, key, tenant=tenant) as registry,
        ):
            yield client, registry

    def find_services(self) -> None:
        """Ask where the services listen; a service that was started anew may listen elsewhere."""
        ports = {service["name"]: f"127.0.0.1:{service['port']}" for service in self.platform.status()["services"]}
        self.targets = OperatorTargets(
            registry=ports["registry"],
            launcher=ports["launcher"],
            monitor=ports["monitor"],
            workers=(ports["worker"],),
        )

    def package(self) -> Path:
        """A package of which no file is like one that was published before."""
        self.num_packages += 1
        folder = self.source.with_name(f"{self.source.name}-{id(self)}-{self.num_packages}")
        shutil.copytree(self.source, folder)
        config = json.loads((folder / "model.json").read_bytes())
        config["input_limits"]["max_text_bytes"] += self.num_packages
        (folder / "model.json").write_text(json.dumps(config))
        weights = bytearray((folder / "weights.safetensors").read_bytes())
        # The lowest bits of some weights: no answer changes.
        weights[-4 * self.num_packages] ^= 1
        (folder / "weights.safetensors").write_bytes(weights)
        for name in ("tokenizer.json", "evaluation.json", "card.md"):
            with (folder / name).open("ab") as file:
                file.write(b"\n" * self.num_packages)
        return folder

    async def publish(self, model: str = MODEL, *, tenant: str = "local") -> int:
        async with self.operator(tenant) as (client, _):
            return (await client.publish(model, self.package())).version.number

    async def set_up(self) -> None:
        self.find_services()
        self.older, self.good, self.gone = [await self.publish() for _ in range(3)]
        assert await self.publish("other") == await self.publish(tenant="stranger") == 1
        async with self.operator() as (client, registry), self.operator("stranger") as (stranger, _):
            for number in (self.older, self.good):
                await client.set_alias(MODEL, "prod", number, reason="test")
            await client.set_alias(MODEL, "canary", self.older, reason="test")
            self.older_head = self.writer.read(tamperings.CANARY_HEAD)
            await client.set_alias(MODEL, "canary", self.good, reason="test")
            await client.set_alias("other", "prod", 1, reason="test")
            await stranger.set_alias(MODEL, "prod", 1, reason="test")
            await registry.withdraw(MODEL, self.gone, reason="test")
            suite = {"name": "typos", "digest": "a" * 64, "num_rows": 10, "num_correct": 9, "num_correct_clean": 9}
            await registry.add_evidence(
                MODEL,
                self.good,
                kind="robustness",
                document=json.dumps({"format": "dragoman.robustness/1", "suites": [suite]}),
            )
        until(lambda: answers_by(self.client, MODEL, self.good), timeout_s=60)

    def answering_versions(self, num_calls: int = CALLS) -> set[int]:
        return {self.client.classify(MODEL, ["grain1"], timeout_s=60).version for _ in range(num_calls)}

    async def scene(self) -> Scene:
        bad = await self.publish()
        async with self.operator() as (client, _):
            version = await client.version(MODEL, bad)
        blobs = {file.path: f"tenants/local/blobs/sha256/{file.sha256}" for file in version.files}
        return Scene(
            writer=self.writer,
            older=self.older,
            good=self.good,
            gone=self.gone,
            bad=bad,
            blobs=blobs,
            older_head=self.older_head,
        )

    def mark_logs(self) -> None:
        self.log_sizes = {path: path.stat().st_size for path in self._logs()}

    def audit_records(self, named: str) -> list[str]:
        """The lines of registry and worker since mark_logs that say that something was refused, and name the object."""
        found = []
        for path in self._logs():
            with path.open("rb") as log:
                log.seek(self.log_sizes.get(path, 0))
                for line in log:
                    record = json.loads(line) if line.startswith(b"{") else {}
                    if record.get("level") in ("WARNING", "ERROR") and named in line.decode():
                        found.append(record["message"])
        return found

    def _logs(self) -> list[Path]:
        return [self.platform.home / "logs" / f"{service}.log" for service in ("registry", "worker")]


@pytest.fixture(scope="module")
def source(installation, tmp_path_factory) -> Path:
    """The files of a model that was trained."""
    number = installation.train(RECIPES / "linear.yaml", "tampering-source")
    folder = tmp_path_factory.mktemp("packages") / "package"
    folder.mkdir()

    async def download() -> None:
        async with installation.operator() as operator:
            for name in FILES:
                (folder / name).write_bytes(await operator.file("tampering-source", number, name))

    asyncio.run(download())
    return folder


@pytest.fixture(scope="module", params=["folder", "minio"])
def stage(request, source, installation, tmp_path_factory) -> Iterator[Stage]:
    with ExitStack() as stack:
        if request.param == "folder":
            writer: StoreWriter = FolderWriter(installation.home / "store")
            platform: Installation = installation
        else:
            root = tmp_path_factory.mktemp("on-minio")
            server = minio_part.required(lambda: stack.enter_context(minio_part.running(root / "minio")))
            bucket = server.make_bucket()
            platform = _platform_on(server, bucket, root)
            platform.up()
            stack.callback(platform.down)
            writer = BucketWriter(server.admin(), bucket)
        client = stack.enter_context(platform.client())
        made = Stage(platform=platform, writer=writer, source=source, client=client)
        asyncio.run(made.set_up())
        yield made


def _platform_on(server: minio_part.MinioServer, bucket: str, root: Path) -> OnBucket:
    credentials = root / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    )
    return OnBucket(
        home=root / "home",
        cache=root / "cache",
        grpc_port=free_port(),
        http_port=free_port(),
        store={
            "DRAGOMAN_REGISTRY_STORE_URL": f"s3://{bucket}?endpoint={server.endpoint}&region={server.region}",
            "DRAGOMAN_REGISTRY_S3_CREDENTIALS_FILE": str(credentials),
        },
    )


@pytest.fixture
async def scene(stage) -> AsyncIterator[Scene]:
    made = await stage.scene()
    stage.mark_logs()
    try:
        yield made
    finally:
        stage.writer.undo()
        async with stage.operator() as (client, _):
            if (await client.alias(MODEL, "prod")).stable_version != stage.good:
                await client.set_alias(MODEL, "prod", stage.good, reason="test")
        until(lambda: stage.answering_versions(1) == {stage.good}, timeout_s=60)


async def reason_of_failure(client: OperatorClient, number: int) -> str:
    """Why the worker does not load a version, once it has tried."""
    async for versions in client.watch_loaded(timeout_s=60):
        for held in versions:
            if (held.model, held.number) == (MODEL, number) and held.state == worker_pb2.LOAD_STATE_FAILED:
                return held.reason
            assert (held.number, held.state) != (number, worker_pb2.LOAD_STATE_READY), "it was loaded"
    raise AssertionError("the watch ended")


async def is_refused(stage: Stage, scene: Scene) -> None:
    async with stage.operator() as (client, _):
        try:
            await client.set_alias(MODEL, "prod", scene.bad, reason="test")
        except DataLossError:
            # The gate reads much of a version itself; then the alias stays.
            return
        assert "DATA_LOSS" in await reason_of_failure(client, scene.bad)


@pytest.mark.parametrize("name", tamperings.VERSION_TAMPERINGS)
async def test_a_version_that_was_tampered_with_never_loads(stage, scene, name):
    named = tamperings.VERSION_TAMPERINGS[name](scene)
    await is_refused(stage, scene)
    assert stage.answering_versions() == {stage.good}
    assert stage.audit_records(named)


# A bucket has no links.
@pytest.mark.parametrize("stage", ["folder"], indirect=True)
@pytest.mark.parametrize("name", tamperings.FOLDER_TAMPERINGS)
async def test_links_in_the_folder_are_not_followed(stage, scene, name):
    named = tamperings.FOLDER_TAMPERINGS[name](scene)
    await is_refused(stage, scene)
    assert stage.answering_versions() == {stage.good}
    assert stage.audit_records(named)


@pytest.mark.parametrize("name", tamperings.CHAIN_TAMPERINGS)
async def test_an_alias_that_was_tampered_with_stays_where_it_was(stage, scene, name):
    async with stage.operator() as (client, _):
        before = await client.alias(MODEL, "prod")
        named = tamperings.CHAIN_TAMPERINGS[name](scene)
        # Who asks where it points is told the truth or nothing; the history and a move read the whole chain.
        with contextlib.suppress(DataLossError):
            assert await client.alias(MODEL, "prod") == before
        with pytest.raises(DataLossError, match="victim/aliases/prod"):
            await client.set_alias(MODEL, "prod", scene.bad, reason="test")
    assert stage.answering_versions() == {stage.good}
    assert stage.audit_records(named)


@pytest.mark.parametrize("name", tamperings.PLANTED)
async def test_what_no_record_names_has_no_effect(stage, scene, name):
    async with stage.operator() as (client, registry):
        before = [await client.alias_events(MODEL, "prod"), await registry.version(MODEL, scene.bad)]
        tamperings.PLANTED[name](scene)
        assert [await client.alias_events(MODEL, "prod"), await registry.version(MODEL, scene.bad)] == before
        for path in ("run.py", ".git/config"):
            with pytest.raises(NotFoundError):
                await client.file(MODEL, scene.bad, path)
        for file in before[1].files:
            assert hashlib.sha256(await client.file(MODEL, scene.bad, file.path)).hexdigest() == file.sha256
        assert {model.model for model in await client.models()} >= {MODEL, "other"}
    assert stage.answering_versions() == {stage.good}


async def test_content_whose_claim_was_bent_is_published_as_itself(stage, scene):
    tamperings.claim_elsewhere(scene)
    async with stage.operator() as (client, _):
        content = await client.version(MODEL, scene.bad)
        again = await client.publish(
            MODEL, stage.source.with_name(f"{stage.source.name}-{id(stage)}-{stage.num_packages}")
        )
    assert again.version.root_sha256 == content.root_sha256
    assert again.version.number != stage.good


async def test_a_registry_that_starts_on_a_store_that_went_back_does_not_roll_back(stage, scene):
    # Of an event that is gone only the signed head tells; of an older head only the copy that the registry keeps.
    lost = {"prod": tamperings.remove_newest_event(scene), "canary": tamperings.go_back_with_older_head(scene)}
    unknown = tamperings.plant_unknown(scene)
    await asyncio.to_thread(stage.platform.kill_service, "registry")
    stage.find_services()
    async with stage.operator() as (client, _):
        for alias in lost:
            with pytest.raises(DataLossError, match=f"victim/aliases/{alias}"):
                await client.alias(MODEL, alias)
    assert stage.answering_versions() == {stage.good}
    for named in (*lost.values(), *unknown):
        assert stage.audit_records(named), named
