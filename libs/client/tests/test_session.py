# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where an operator's command goes."""

import pytest

from dragoman_client.cli.session import Session
from dragoman_client.local.home import Home
from dragoman_common.errors import InvalidArgumentError, UnavailableError


def test_services_of_another_platform_are_named_by_a_variable(tmp_path):
    session = Session(home=Home(tmp_path), environ={"DRAGOMAN_SERVICES": "registry=r:1, launcher=l:2"})
    assert (session.target("registry"), session.target("launcher")) == ("r:1", "l:2")
    with pytest.raises(InvalidArgumentError, match="names no monitor: add monitor=host:port"):
        session.target("monitor")


def test_without_it_a_platform_must_run_here(tmp_path):
    with pytest.raises(UnavailableError):
        Session(home=Home(tmp_path), environ={}).target("registry")
