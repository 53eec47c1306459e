# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The event log wakes the catalogue: what another registry wrote is listed and told without a scan."""

from datetime import UTC, datetime

import pytest

from dragoman.events.v1 import events_pb2
from dragoman.registry.v1 import registry_pb2 as pb
from dragoman_common.errors import UnavailableError
from dragoman_events.cloud_event import CloudEvent
from dragoman_events.message_event import event_of
from dragoman_events.topics import MODELS
from dragoman_registry.event_wake import EventWake

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def pair(start):
    """Two registries on one store; the first hears what the second tells."""
    async with start() as one, start(one.store) as two, one.client() as here, two.client() as there:
        wake = EventWake(two.log, one.catalog)
        await wake.look()
        yield one, two, here, there, wake


async def test_another_registrys_version_is_listed_and_its_move_reaches_followers_at_the_next_look(pair, make):
    _, _, here, there, wake = pair
    call = here.stub.WatchAliases(pb.WatchAliasesRequest(), timeout=20)
    assert (await call.read()).is_snapshot_complete
    await there.publish(make.good())
    await there.move(1)
    assert await here.numbers() == []
    await wake.look()
    assert await here.numbers() == [1]
    message = await call.read()
    assert (message.event.alias, message.event.sequence) == ("prod", 1)
    call.cancel()


async def test_what_is_known_is_not_read_again(pair, make, monkeypatch):
    one, _, here, there, wake = pair
    await there.publish(make.good())
    await there.move(1)
    await wake.look()
    asked = []
    monkeypatch.setattr(one.catalog, "followed_chain", lambda *place: asked.append(place))
    monkeypatch.setattr(one.catalog, "checked_version", lambda *place: asked.append(place))
    fresh = EventWake(pair[1].log, one.catalog)
    fresh._next = {0: 0}
    await fresh.look()
    assert asked == []
    assert await here.numbers() == [1]


async def test_news_that_lie_or_are_none_of_ours_change_nothing(pair, make):
    _, two, here, there, wake = pair
    await there.publish(make.good())
    await wake.look()
    lies = [
        events_pb2.AliasMoved(tenant="acme", model="r8", alias="prod", sequence=9, stable_version=1),
        events_pb2.AliasMoved(tenant="../acme", model="r8", alias="prod", sequence=9),
        events_pb2.AliasMoved(tenant="acme", model="r8", alias="a/b", sequence=9),
        events_pb2.VersionPublished(tenant="acme", model="r8", version=7),
        events_pb2.VersionPublished(tenant="acme", model="r8", version=-1),
        events_pb2.Prediction(),
    ]
    two.log.append(MODELS, b"acme/r8", [event_of(lie, source="x") for lie in lies])
    two.log.append(
        MODELS, b"x", [CloudEvent(id="1", source="x", type=lies[0].DESCRIPTOR.full_name, time=LONG_AGO, data=b"\xff")]
    )
    await wake.look()
    assert await here.numbers() == [1]
    with pytest.raises(Exception, match="does not exist"):
        await here.alias()
    await there.move(1)
    await wake.look()
    assert (await here.stub.ListModels(pb.ListModelsRequest())).models[0].aliases[0].sequence == 1


async def test_news_that_could_not_be_followed_are_followed_by_the_next_look(pair, make, monkeypatch):
    one, _, here, there, wake = pair
    await there.publish(make.good())

    async def away(*_place):
        raise UnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(one.catalog, "checked_version", away)
        with pytest.raises(UnavailableError):
            await wake.look()
    await wake.look()
    assert await here.numbers() == [1]
