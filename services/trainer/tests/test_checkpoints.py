# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A run that was cut off goes on from its checkpoint, and ends with the weights of one that was not, bit for bit."""

import random
import signal

import numpy as np
import pytest
import torch

from dragoman_common.errors import DataLossError, UnavailableError
from dragoman_trainer import loop
from dragoman_trainer.checkpointing import Checkpointer
from dragoman_trainer.local import LocalReporter
from dragoman_trainer.ports import JobCancelledError
from dragoman_trainer.recipe import parse_recipe
from dragoman_trainer.stopping import Stop
from dragoman_trainer.training import run
from dragoman_trainer.training_state import TrainingState, dump_state, restore_state

STEPS_PER_EPOCH, NUM_STEPS = 12, 36


class CutOffError(Exception):
    """Stands for SIGKILL: nothing runs after it."""


class Store:
    """Keeps two, as the registry does."""

    def __init__(self):
        self.states = {}
        self.is_away = False
        self.num_saved = 0

    def save(self, step, data):
        if self.is_away:
            raise UnavailableError("away")
        self.num_saved += 1
        self.states.setdefault(step, data)
        self.states = dict(sorted(self.states.items())[-2:])

    def newest(self):
        return self.states[max(self.states)] if self.states else None

    def drop(self):
        self.states = {}


class Watcher(LocalReporter):
    def __init__(self, cut_off_at=()):
        self.cut_off_at = set(cut_off_at)
        self.steps = []

    def report(self, progress):
        if progress.stage != "train":
            return
        self.steps.append(progress.step)
        if progress.step in self.cut_off_at:
            self.cut_off_at.discard(progress.step)
            raise CutOffError


class Shelf:
    def published(self):
        return None

    def publish(self, package_dir, lineage):
        return None


RECIPES = {
    "adam, one cycle, dropout": {
        "rnn.embedding_dropout": "0.2",
        "rnn.dropout": "0.3",
        "training.schedule": "one_cycle",
    },
    "adamw, constant": {"training.optimizer": "adamw", "training.schedule": "constant"},
    "gru, two layers": {"rnn.cell": "gru", "rnn.num_layers": "2", "rnn.dropout": "0.4"},
}


@pytest.fixture
def train(rnn_recipe, toy, tmp_path):
    def train(store, watcher=None, *, interval_steps=3, publisher=None, stop=None, **overrides):
        recipe = parse_recipe(rnn_recipe, file="toy.yaml", overrides=overrides)
        output = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        output.mkdir()
        checkpointer = Checkpointer(store, interval_s=0, interval_steps=interval_steps, stop=stop) if store else None
        result = run(
            recipe,
            rnn_recipe,
            data_dir=toy,
            output_dir=output,
            reporter=watcher or LocalReporter(),
            publisher=publisher,
            checkpointer=checkpointer,
        )
        return {path.name: path.read_bytes() for path in result.package_dir.iterdir()}

    return train


def train_through(train, store, cut_off_at, **more):
    """As a job's pods do: each begins where the one before has saved, with nothing but the store in common."""
    watcher = Watcher(cut_off_at)
    for _ in range(len(cut_off_at) + 1):
        # Whatever another process would have drawn by now.
        torch.manual_seed(random.randrange(1000))
        np.random.seed(random.randrange(1000))  # noqa: NPY002  that which must not matter
        try:
            return train(store, watcher, **more), watcher
        except CutOffError:
            continue
    raise AssertionError("cut off more often than that")


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_a_run_cut_off_three_times_ends_with_the_same_package(train, changes):
    random.seed(7)
    whole = train(None, **changes)
    steps = random.sample(range(2, 60), 3)

    package, watcher = train_through(train, Store(), steps, **changes)

    assert package == whole
    assert len(watcher.steps) < len(set(watcher.steps)) + 3 * 4, "it began anew"


@pytest.mark.parametrize("cut_off_at", [1, 3, 4, 12, 13, 24])
def test_it_does_not_matter_at_which_step(train, cut_off_at):
    whole = train(None, **{"training.epochs": "3"})
    package, _ = train_through(train, Store(), [cut_off_at], **{"training.epochs": "3"})
    assert package == whole


@pytest.mark.parametrize("stop_at", [1, 3, 11, 12, 13, 24, 36])
def test_a_run_that_is_told_to_stop_loses_no_step(train, stop_at):
    whole = train(None, **{"training.epochs": "3"})
    store, stop = Store(), Stop()
    told = Watcher()
    told.report = lambda progress: progress.step == stop_at and stop.on_signal(signal.SIGTERM, None)
    with pytest.raises(JobCancelledError):
        train(store, told, interval_steps=0, stop=stop, **{"training.epochs": "3"})
    # Told while it reported a step, it makes the one that follows, where there is one, and keeps it.
    saved = min(stop_at + 1, NUM_STEPS)
    assert list(store.states) == [saved]

    after = Watcher()
    assert train(store, after, **{"training.epochs": "3"}) == whole
    # An epoch's last step is told of once dev is measured, which was still to be done.
    is_to_measure = saved % STEPS_PER_EPOCH == 0 and saved == stop_at + 1
    assert after.steps[:1] == [saved if is_to_measure else saved + 1][: saved < NUM_STEPS or is_to_measure]


def test_a_stop_while_dev_is_measured_waits_for_no_more_than_a_batch_of_it(train, monkeypatch):
    whole = train(None, **{"training.epochs": "3"})
    store, stop, num_measured = Store(), Stop(), 0
    pad = loop.pad

    def pad_and_be_told(rows):
        nonlocal num_measured
        # Dev is measured in eights, and trained are sixteens.
        if len(rows) == 8:
            num_measured += 1
            stop.on_signal(signal.SIGTERM, None)
        return pad(rows)

    monkeypatch.setattr(loop, "pad", pad_and_be_told)
    monkeypatch.setattr(loop.measure, "__kwdefaults__", loop.measure.__kwdefaults__ | {"batch_size": 8})
    with pytest.raises(JobCancelledError):
        train(store, interval_steps=0, stop=stop, **{"training.epochs": "3"})
    assert num_measured == 1
    assert list(store.states) == [STEPS_PER_EPOCH]

    monkeypatch.undo()
    assert train(store, **{"training.epochs": "3"}) == whole


def test_a_stop_right_after_a_checkpoint_saves_no_second_one(train):
    store, stop = Store(), Stop()
    save = store.save

    def save_and_be_told(step, data):
        save(step, data)
        if step == 6:
            stop.on_signal(signal.SIGTERM, None)

    store.save = save_and_be_told
    with pytest.raises(JobCancelledError):
        train(store, interval_steps=3, stop=stop)
    assert (store.num_saved, max(store.states)) == (3, 7)


def test_a_store_that_is_away_holds_up_no_stop(train):
    store, stop = Store(), Stop()
    store.is_away = True
    told = Watcher()
    told.report = lambda progress: progress.step == 5 and stop.on_signal(signal.SIGTERM, None)
    with pytest.raises(JobCancelledError):
        train(store, told, stop=stop)
    assert store.states == {}


def test_a_state_of_another_recipe_is_not_taken_up(train):
    store = Store()
    with pytest.raises(CutOffError):
        train(store, Watcher([20]))
    other = {"training.learning_rate": "0.003"}
    assert train(store, **other) == train(None, **other)


@pytest.mark.parametrize("damage", [b"", b"\x08", b"\xff" * 100, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_state_costs_the_steps_before_it_and_no_more(train, damage):
    store = Store()
    store.states[7] = damage
    assert train(store) == train(None)


def test_a_store_that_is_away_stops_no_training_and_one_that_cannot_be_asked_no_run_anew(train):
    store = Store()
    store.is_away = True
    assert train(store, **{"training.epochs": "2"}) == train(None, **{"training.epochs": "2"})

    def newest():
        raise UnavailableError("away")

    store.newest = newest
    with pytest.raises(UnavailableError):
        train(store)


def test_checkpoints_go_when_the_run_has_published(train):
    store = Store()
    train(store, Watcher(), publisher=Shelf())
    assert store.num_saved > 5
    assert store.states == {}


def test_time_alone_can_make_one_due():
    now = [0.0]
    store = Store()
    checkpointer = Checkpointer(store, interval_s=60, interval_steps=0, monotonic_s=lambda: now[0])
    state = fresh()
    for state.step, now[0] in ((1, 59.0), (2, 60.0), (3, 61.0), (4, 121.0)):
        checkpointer.save_if_due(state)
    assert list(store.states) == [2, 4]


def fresh():
    torch.manual_seed(1)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    return TrainingState(
        network=network, optimizer=optimizer, scheduler=None, generator=np.random.default_rng(random.randrange(9))
    )


def test_every_generator_is_restored():
    state = fresh()
    data = dump_state(state, fingerprint="a")
    drawn = (random.random(), np.random.random(3).tolist(), torch.rand(3).tolist(), state.generator.random(3).tolist())  # noqa: NPY002

    other = fresh()
    assert restore_state(other, data, fingerprint="a")
    again = (random.random(), np.random.random(3).tolist(), torch.rand(3).tolist(), other.generator.random(3).tolist())  # noqa: NPY002
    assert again == drawn
    assert not restore_state(fresh(), data, fingerprint="b")
    with pytest.raises(DataLossError):
        restore_state(fresh(), data[:100], fingerprint="a")
