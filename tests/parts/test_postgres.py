# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL that tests get keeps what it committed, asks for the password, and listens on loopback alone."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.parts import postgres
from tests.parts.listening import addresses
from tests.parts.missing import MissingPartError, required
from tests.parts.postgres import PostgresServer

ROWS = 50

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("postgres")
        yield required("postgres", lambda: stack.enter_context(postgres.running(folder, killable=True)))


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("process")
        yield required("postgres", lambda: stack.enter_context(postgres.running(folder, process=True)))


def test_killed_server_keeps_what_it_committed_and_nothing_else(server):
    url = server.make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE counted (number integer PRIMARY KEY)")
        for number in range(ROWS):
            connection.execute("INSERT INTO counted VALUES (%s)", (number,))
    open_transaction = psycopg.connect(url)
    open_transaction.execute("INSERT INTO counted VALUES (%s)", (ROWS,))
    server.restart()
    with pytest.raises(psycopg.OperationalError):
        open_transaction.commit()
    open_transaction.close()
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT number FROM counted ORDER BY number").fetchall()
    assert kept == [(number,) for number in range(ROWS)]


def test_stopped_server_ends_sessions_and_starts_again_on_its_port(server):
    url = server.make_database()
    with server.admin() as session:
        server.stop()
        server.start()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_paused_server_answers_nobody_until_it_is_resumed(server):
    server.pause()
    try:
        with pytest.raises(psycopg.OperationalError):
            server.admin()
    finally:
        server.resume()
    server.wait_ready()


@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_comes_in_without_the_password(server, password):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url, password=password, connect_timeout=5)


def test_data_is_flushed_and_served_on_loopback_alone(process):
    with process.admin() as session:
        assert session.execute("SHOW fsync").fetchone() == ("on",)
        assert session.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    assert {host for host, _ in addresses(process._host.pid)} == {"127.0.0.1"}


def test_server_has_no_right_of_root_but_to_pass_through_closed_folders(process):
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process._host.pid}/status").read_text().splitlines()
        if "\t" in line
    )
    assert "0" not in status["Uid"].split()
    dac_read_search = 1 << 2
    assert int(status["CapEff"], 16) & ~dac_read_search == 0


def test_server_of_the_environment_is_never_killed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DRAGOMAN_TEST_POSTGRES_URL", server.url)
    with postgres.running(tmp_path) as found:
        assert found.url == server.url
        with pytest.raises(MissingPartError, match="not ours"):
            found.kill()
    server.wait_ready()
