# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: everything wrong is said at once, and secrets stay out of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from dragoman_common.settings import Secret, SettingsError, load, parse


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    listen: str = "127.0.0.1:0"
    ready_file: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    server: Inner
    max_wait_ms: int
    rate: float = 1.5
    verbose: bool = False
    targets: tuple[str, ...] = ()
    password: Secret | None = None


def test_values_are_read_by_type_and_nested_fields_share_the_prefix():
    environ = {
        "X_LISTEN": "0.0.0.0:1",
        "X_MAX_WAIT_MS": "5",
        "X_VERBOSE": "true",
        "X_TARGETS": "a:1, b:2",
        "X_PASSWORD": "hunter2",
        "OTHER": "ignored",
    }
    settings = parse(Settings, environ, prefix="X_")
    assert settings.server == Inner(listen="0.0.0.0:1")
    assert (settings.max_wait_ms, settings.rate, settings.verbose, settings.targets) == (5, 1.5, True, ("a:1", "b:2"))
    assert settings.password.reveal() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_all_problems_are_reported_together():
    environ = {"X_RATE": "fast", "X_VERBOSE": "perhaps", "X_MAX_WAIT": "5"}
    with pytest.raises(SettingsError) as caught:
        parse(Settings, environ, prefix="X_")
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == [
        "X_MAX_WAIT",
        "X_MAX_WAIT_MS",
        "X_RATE",
        "X_VERBOSE",
    ]


def test_load_exits_with_2_and_says_why(capsys):
    with pytest.raises(SystemExit) as caught:
        load(Settings, {}, prefix="X_")
    assert caught.value.code == 2
    assert "X_MAX_WAIT_MS: required" in capsys.readouterr().err
