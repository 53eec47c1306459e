# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The real parts below a laptop's platform, instead of its files: Kafka, an S3 store, Postgres.

DRAGOMAN_UP_* (environment, or a file of such lines) -> RealParts -> each service's own settings; <home>/parts.json

Owns the names, what is asked of them before anything starts, and what each service is told. Starts no part. Passwords
come by file only: what is kept, told and shown here are addresses and names of files.
"""

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from dragoman_client.local.home import Home
from dragoman_common.atomic import write_atomic
from dragoman_common.errors import DataLossError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from dragoman_common.settings import SettingsError, parse
from dragoman_events.kafka_settings import KafkaSettings, brokers_of

PREFIX = "DRAGOMAN_UP_"
REAL_VARIABLE = f"{PREFIX}REAL"
HOW = "`make real-parts` starts all three and writes the file for --env"
# One machine, one broker: what it loses is lost either way.
_DEFAULTS = {f"{PREFIX}KAFKA_CREATE_TOPICS": "true", f"{PREFIX}KAFKA_REPLICATION": "1"}
_BY_FILE_ONLY = {f"{PREFIX}KAFKA_PASSWORD": f"{PREFIX}KAFKA_CREDENTIALS_FILE", f"{PREFIX}KAFKA_KEY_PASSWORD": "none"}
_CONNECT_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsSettings:
    """Where the parts are, as DRAGOMAN_UP_*."""

    events_url: str
    """kafka://host:port,host:port"""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How to talk to the brokers; told to every service that does."""
    store_url: str
    """s3://bucket?endpoint=http://host:port&region=name"""
    s3_credentials_file: Path
    s3_ca_file: Path | None = None
    s3_encryption: str | None = None
    s3_encryption_key_id: str | None = None
    state_url: str
    """postgresql://user@host:port/database"""
    state_password_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse another kind of part, which would be no real one.

        Raises:
            ValueError: with the setting's name.
        """
        for name, scheme in (("events_url", "kafka"), ("store_url", "s3"), ("state_url", "postgresql")):
            parts = urlsplit(getattr(self, name))
            if parts.scheme != scheme:
                raise ValueError(f"{name.upper()} must begin with {scheme}://")
            if parts.password is not None:
                raise ValueError(f"{name.upper()} holds a password; it belongs in a file")
        try:
            brokers_of(self.events_url)
        except InvalidArgumentError as error:
            raise ValueError(error.message) from None

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """What only its owner may read."""
        files = (
            self.s3_credentials_file,
            self.state_password_file,
            self.kafka.kafka_credentials_file,
            self.kafka.kafka_key_file,
        )
        return tuple(path for path in files if path is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class RealParts:
    """The settings, and the variables that they came from."""

    settings: PartsSettings
    variables: Mapping[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "RealParts":
        """Read the DRAGOMAN_UP_* variables.

        Raises:
            InvalidArgumentError: one is missing, unknown or wrong; all problems at once, and no secret.
        """
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name != REAL_VARIABLE}
        for name, instead in _BY_FILE_ONLY.items():
            if name in given:
                raise InvalidArgumentError(f"{name}: passwords are given by file only, instead: {instead}")
        variables = _DEFAULTS | {
            name: str(Path(value).absolute()) if name.endswith("_FILE") else value for name, value in given.items()
        }
        try:
            return cls(settings=parse(PartsSettings, variables, prefix=PREFIX), variables=variables)
        except SettingsError as error:
            raise InvalidArgumentError(f"--real lacks what it needs; {HOW}:\n{error}") from None

    def service(self, name: str) -> dict[str, str]:
        """What a service is told of the parts, without its prefix."""
        told: dict[str, str] = {}
        if name in ("registry", "launcher", "monitor", "gateway"):
            told |= self._below("EVENTS_URL") | self._below("KAFKA_")
        if name == "registry":
            told |= self._below("STORE_URL") | self._below("S3_")
        if name == "monitor":
            told |= self._below("STATE_")
        if name == "worker" and self.settings.s3_ca_file is not None:
            told["FILE_URL_CA_FILE"] = str(self.settings.s3_ca_file)
        return told

    @property
    def store_id(self) -> str:
        """Tells one store from another: what is remembered of one must not be held against the next."""
        return sha256(self.settings.store_url.encode()).hexdigest()[:12]

    def check(self) -> None:
        """See, before anything starts, that the files can be used and that something listens at each address.

        Raises:
            NotFoundError: a file is missing.
            FailedPreconditionError: a secret is open to other users, or nothing listens.
        """
        for path in self.settings.secret_files:
            if not path.is_file():
                raise NotFoundError(f"{path}, which {PREFIX}* names, does not exist")
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise FailedPreconditionError(f"{path} holds a secret that other users may read: chmod 600 {path}")
        silent = [f"{setting}: nothing listens on {where}" for setting, where in self._silent()]
        if silent:
            raise FailedPreconditionError(f"{'; '.join(silent)}. Start the part, or correct its address; {HOW}")

    def _silent(self) -> Iterator[tuple[str, str]]:
        # One broker of several is enough to find the others.
        brokers = brokers_of(self.settings.events_url).split(",")
        if not any(_listens(*_address(broker, 9092)) for broker in brokers):
            yield f"{PREFIX}EVENTS_URL", " or ".join(brokers)
        endpoint = parse_qs(urlsplit(self.settings.store_url).query).get("endpoint", [""])[0]
        if endpoint:
            at = urlsplit(endpoint)
            if not _listens(at.hostname or "", at.port or (443 if at.scheme == "https" else 80)):
                yield f"{PREFIX}STORE_URL", endpoint
        at = urlsplit(self.settings.state_url)
        if at.hostname and not _listens(at.hostname, at.port or 5432):
            yield f"{PREFIX}STATE_URL", f"{at.hostname}:{at.port or 5432}"

    def _below(self, start: str) -> dict[str, str]:
        return {
            name.removeprefix(PREFIX): value
            for name, value in self.variables.items()
            if name.startswith(PREFIX + start)
        }


def parts_of_environ(environ: Mapping[str, str]) -> RealParts | None:
    """The parts that `up --real` asked for; None for a platform on files.

    Raises:
        InvalidArgumentError: as `RealParts.of`.
    """
    is_real = environ.get(REAL_VARIABLE, "").lower() in ("1", "true", "yes")
    return RealParts.of(environ) if is_real else None


def variables_of_file(path: Path) -> dict[str, str]:
    """Read a file of NAME=VALUE lines; empty lines, comments and a leading `export` are passed over.

    Raises:
        NotFoundError: there is none.
        InvalidArgumentError: a line is something else, or no DRAGOMAN_UP_* name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise NotFoundError(f"--env: {path} does not exist; {HOW}") from None
    except UnicodeDecodeError:
        raise InvalidArgumentError(f"--env: {path} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.startswith(PREFIX):
            # Not the line itself: it may hold what should have been in another file.
            raise InvalidArgumentError(f"--env: {path}, line {number} is not {PREFIX}NAME=VALUE")
        found[name] = value.strip().strip("'\"")
    return found


def remember(home: Home, parts: RealParts | None) -> None:
    """Keep which parts a home's platform runs on, for the commands that look at them past the services."""
    if parts is None:
        home.parts_file.unlink(missing_ok=True)
    else:
        write_atomic(home.parts_file, json.dumps(dict(parts.variables), indent=1).encode(), mode=0o600)


def remembered(home: Home) -> RealParts | None:
    """The parts of the home's newest platform; None where it ran on files.

    Raises:
        DataLossError: the file is not what `remember` wrote.
    """
    try:
        document = json.loads(home.parts_file.read_bytes())
        return RealParts.of({str(name): str(value) for name, value in document.items()})
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, InvalidArgumentError) as error:
        raise DataLossError(f"{home.parts_file} is damaged or of another release; remove it, and `up` again") from error


def _address(text: str, port: int) -> tuple[str, int]:
    host, _, given = text.rpartition(":")
    return (host.strip("[]"), int(given)) if host else (given, port)


def _listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=_CONNECT_S):
        return True
    return False
