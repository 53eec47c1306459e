# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Books in Postgres: how it is named, and what happens when it goes away, fills up or refuses us."""

import random
from urllib.parse import urlsplit

import pytest

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError
from dragoman_common.settings import Secret
from dragoman_events.memory import MemoryEventLog
from dragoman_events.topics import FEEDBACK, PREDICTIONS
from dragoman_monitor.contracts import RULES, batch, prediction
from dragoman_monitor.opening import open_database, read_password
from dragoman_monitor.sql import SqlMonitorStore

NUM_ROWS = 300


class Killing:
    """A stop that kills the server now and then while a topic is read, starts it again, and ends when all is read."""

    def __init__(self, server, is_read, rng):
        self._server, self._is_read, self._rng = server, is_read, rng
        self._is_up = True
        self.num_kills = 0

    def is_set(self):
        if not self._is_up:
            self.wait(0)
        elif self._rng.random() < 0.15 and self.num_kills < 2:
            self.num_kills += 1
            self._is_up = False
            self._server.kill()
            return False
        return self._is_read()

    def wait(self, _):
        self._server.start()
        self._is_up = True


def test_a_server_that_is_killed_again_and_again_loses_and_repeats_nothing(world, postgres):
    store = SqlMonitorStore(open_database(world.postgres_url(postgres)), RULES)
    log = MemoryEventLog()
    log.write(PREDICTIONS, [world.message(world.prediction(n)) for n in range(NUM_ROWS)])
    log.write(FEEDBACK, [world.message(world.feedback(n)) for n in range(NUM_ROWS)])
    num_kills = 0
    for topic in (PREDICTIONS, FEEDBACK):
        stop = Killing(
            postgres,
            lambda topic=topic: store.offsets(topic) == log.end_offsets(topic),
            random.Random(num_kills),
        )
        world.reader(topic, log, store, max_records=10).run(stop)
        num_kills += stop.num_kills
    assert num_kills >= 3
    assert world.books(store) == world.books(world.recount(log))
    store.close()


def test_a_server_that_is_away_is_unavailable_and_comes_back(world, postgres):
    store = SqlMonitorStore(open_database(world.postgres_url(postgres)), RULES)
    store.apply(batch(prediction("r-1")))
    postgres.kill()
    for call in (store.tallies, lambda: store.apply(batch(prediction("r-2"), expected=1))):
        with pytest.raises(UnavailableError, match="cannot be used now"):
            call()
    postgres.start()
    store.apply(batch(prediction("r-2"), expected=1))
    assert store.offsets("contract.topic") == {0: 2}
    store.close()


def test_a_user_without_rights_is_told_so(world, postgres):
    url = urlsplit(world.postgres_url(postgres))
    with postgres.admin() as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'of-this-test'")
    database = open_database(
        f"postgresql://reader@{url.hostname}:{url.port}{url.path}", password=Secret("of-this-test")
    )
    with pytest.raises(FailedPreconditionError, match="refuses this user"):
        SqlMonitorStore(database, RULES)
    wrong = open_database(f"postgresql://reader@{url.hostname}:{url.port}{url.path}", password=Secret("wrong-word"))
    with pytest.raises(UnavailableError, match="password authentication failed") as refused:
        SqlMonitorStore(wrong, RULES)
    assert "wrong-word" not in str(refused.value) + repr(wrong)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:hidden@h/d", "a password belongs in state_password"),
        ("postgresql://h/d", "state_url must be"),
        ("postgresql://u@h", "state_url must be"),
        ("postgresql://u@/d", "the host is missing"),
        ("postgresql://u@h:port/d", "the port is no number"),
        ("postgresql://u@h/d?options=-c%20x", "it has no option options"),
        ("mysql://u@h/d", "state_url must be sqlite:///"),
    ],
)
def test_another_url_is_refused_by_its_form_and_never_repeated(url, reason):
    with pytest.raises(InvalidArgumentError, match=reason) as refused:
        open_database(url)
    assert "hidden" not in refused.value.message


def test_beyond_this_machine_the_servers_certificate_is_checked_unless_it_is_said_otherwise():
    def mode(url):
        return open_database(url).engine.url.query.get("sslmode")

    assert mode("postgresql://u@db.example/d") == "verify-full"
    assert mode("postgresql://u@10.0.0.1/d?sslmode=require") == "require"
    assert mode("postgresql://u@127.0.0.1/d") is None
    assert mode("postgresql://u@/d?host=/var/run/postgresql") is None


def test_a_password_comes_from_one_place(tmp_path):
    file = tmp_path / "password"
    file.write_text("of-this-test\n")
    assert read_password(None, file).reveal() == "of-this-test"
    with pytest.raises(InvalidArgumentError, match="not both"):
        read_password(Secret("x"), file)
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_password(None, tmp_path / "none")
