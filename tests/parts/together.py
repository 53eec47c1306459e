# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""All three real parts at once, with a bucket and a database made, described as `dragoman up --real` takes it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from tests.parts import kafka, minio, postgres
from tests.parts.kafka import KafkaBroker
from tests.parts.minio import MinioServer
from tests.parts.missing import MissingPartError, missing
from tests.parts.postgres import PostgresServer

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Three servers, and the DRAGOMAN_UP_* variables that lead to them; secrets are in files that these name."""

    kafka: KafkaBroker
    minio: MinioServer
    postgres: PostgresServer
    environ: Mapping[str, str]


@contextmanager
def running(folder: Path, *, killable: bool = False) -> Iterator[Parts]:
    """The parts for the time of the block, with data of their own below the folder, which is made.

    Raises:
        OneMissingError: one cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        # Java takes its time: the others start meanwhile.
        starts = {
            "kafka": pool.submit(_entered, kafka.running(folder / "kafka", killable=killable)),
            "minio": pool.submit(_entered, minio.running(_made(folder / "minio"), killable=killable)),
            "postgres": pool.submit(_entered, postgres.running(_made(folder / "postgres"), killable=killable)),
        }
        for start in starts.values():
            if start.exception() is None:
                stack.push(start.result()[0])
        for part, start in starts.items():
            if isinstance(error := start.exception(), MissingPartError):
                raise OneMissingError(part, str(error)) from error
        broker, store, books = (start.result()[1] for start in starts.values())
        yield Parts(kafka=broker, minio=store, postgres=books, environ=_environ(folder, broker, store, books))


class OneMissingError(MissingPartError):
    """Names the part, as ALLOW_MISSING does."""

    def __init__(self, part: str, said: str) -> None:
        super().__init__(f"{part}: {said}")
        self.part = part


def required(stack: ExitStack, folder: Path, *, killable: bool = False) -> Parts:
    """The parts until the stack ends; without one the run ends, or the test is skipped where ALLOW_MISSING says so."""
    try:
        return stack.enter_context(running(folder, killable=killable))
    except OneMissingError as error:
        missing(error.part, error)


def _entered(part: AbstractContextManager[T]) -> tuple[AbstractContextManager[T], T]:
    return part, part.__enter__()


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _environ(folder: Path, broker: KafkaBroker, store: MinioServer, books: PostgresServer) -> dict[str, str]:
    credentials, password = folder / "s3-credentials", folder / "postgres-password"
    database = urlsplit(books.make_database())
    _write_secret(
        credentials,
        f"[default]\naws_access_key_id = {store.access_key}\naws_secret_access_key = {store.secret_key}\n",
    )
    _write_secret(password, str(database.password))
    return {
        "DRAGOMAN_UP_EVENTS_URL": f"kafka://{broker.bootstrap}",
        "DRAGOMAN_UP_STORE_URL": f"s3://{store.make_bucket()}?endpoint={store.endpoint}&region={store.region}",
        "DRAGOMAN_UP_S3_CREDENTIALS_FILE": str(credentials),
        "DRAGOMAN_UP_STATE_URL": f"postgresql://{database.username}@{database.hostname}:{database.port}{database.path}",
        "DRAGOMAN_UP_STATE_PASSWORD_FILE": str(password),
    }


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
