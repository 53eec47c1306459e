# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""One installation for the whole run: started by the command, trained on the made-up set, stopped at the end."""

from pathlib import Path

import pytest

from tests.integration import corpus
from tests.integration.installation import Installation, free_port

RECIPES = Path(__file__).parent / "recipes"


@pytest.fixture(scope="session")
def installation(tmp_path_factory):
    root = tmp_path_factory.mktemp("installation")
    made = Installation(home=root / "home", cache=root / "cache", grpc_port=free_port(), http_port=free_port())
    train, test = corpus.write(root)
    made.run("data", "add", "topics", str(train), str(test))
    made.up()
    try:
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def trained(installation):
    """The model `topics`: version 1 linear, version 2 a small LSTM; prod points to version 2."""
    linear = installation.train(RECIPES / "linear.yaml", "topics")
    rnn = installation.train(RECIPES / "rnn.yaml", "topics")
    assert (linear, rnn) == (1, 2)
    for version in (linear, rnn):
        installation.serve("topics", version)
    return installation
