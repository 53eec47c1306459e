# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Bad input gets an error that names the field, the limit, and what to do; and leaves nothing behind."""

import time

import pytest

from dragoman_client.client import Client
from dragoman_common import errors
from tests.integration.conftest import RECIPES
from tests.integration.installation import CommandFailedError


@pytest.fixture
def client(trained):
    with trained.client() as client:
        yield client


def test_empty_text_names_its_row(client):
    with pytest.raises(errors.InvalidArgumentError, match=r"texts?\[1\].*empty"):
        client.classify("topics", ["fine", ""])


def test_no_text_at_all_is_refused(client):
    with pytest.raises(errors.InvalidArgumentError, match="text"):
        client.classify("topics", [])


def test_text_over_its_limit_names_row_and_limit(client):
    with pytest.raises(errors.InvalidArgumentError, match=r"texts?\[0\].*65,?536"):
        client.classify("topics", ["x" * 70_000])


def test_message_over_the_cap_is_resource_exhausted_and_names_the_cap(client):
    with pytest.raises(errors.OverloadedError, match="4194304"):
        client.classify("topics", ["x" * 60_000] * 80)


@pytest.mark.parametrize("model", ["nothing", "topics@nowhere"])
def test_unknown_model_or_alias_is_not_found(client, model):
    with pytest.raises(errors.NotFoundError, match=r"nothing|nowhere"):
        client.classify(model, ["x"])


@pytest.mark.parametrize("model", ["../x", "/etc", "a\0b", "%2e%2e", "$(x)", "x" * 300, "-rf", "naïve"])
def test_odd_model_names_are_refused(client, model):
    with pytest.raises((errors.InvalidArgumentError, errors.NotFoundError)):
        client.classify(model, ["x"])


def test_token_for_other_models_is_denied(trained):
    with trained.client("--models", "other") as client, pytest.raises(errors.PermissionDeniedError, match="topics"):
        client.classify("topics", ["x"])


def test_expired_token_is_unauthenticated(trained):
    with (
        Client(trained.target, trained.expired_token()) as client,
        pytest.raises(errors.UnauthenticatedError, match="expired"),
    ):
        client.classify("topics", ["x"])


def test_unknown_recipe_key_is_named_with_its_neighbours(trained, tmp_path):
    recipe = tmp_path / "typo.yaml"
    recipe.write_text((RECIPES / "linear.yaml").read_text().replace("solver:", "solvr:"))
    jobs = trained.json("jobs")
    with pytest.raises(CommandFailedError, match=r"solvr.*solver") as caught:
        trained.run("train", str(recipe), "--model", "topics")
    assert caught.value.exit_code != 0
    assert trained.json("jobs") == jobs


def test_missing_data_set_is_named(trained, tmp_path):
    recipe = tmp_path / "missing.yaml"
    recipe.write_text((RECIPES / "linear.yaml").read_text().replace("name: topics", "name: absent"))
    with pytest.raises(CommandFailedError, match="absent"):
        trained.run("train", str(recipe), "--model", "topics")


def test_call_whose_time_is_used_up_ends_on_time(client):
    started_s = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError):
        client.classify("topics", ["x"], timeout_s=0.0001)
    assert time.monotonic() - started_s < 1
