# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry can be told, read by __main__ from DRAGOMAN_REGISTRY_*."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.server import ServerSettings
from dragoman_events.kafka_settings import KafkaSettings
from dragoman_registry.s3_settings import S3Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrySettings:
    """Every setting of the service; the README's table says the same."""

    server: ServerSettings
    s3: S3Settings = field(default_factory=S3Settings)
    store_url: str
    """Where versions and aliases are kept: file:///absolute/folder, or s3://bucket?endpoint=http://host:port&region=name.
    Back up what is there and the signing key."""
    signing_key_file: Path
    """PKCS#8 PEM, ECDSA P-256. Whoever holds it can sign versions: this service alone should read it."""
    verifying_keys_file: Path | None = None
    """Whose signatures on stored records count: PEM public keys, one after another, or a signed chain of key lists.
    Must include the signing key's. Unset trusts the signing key only, so set it while a key is being rotated."""
    state_folder: Path | None = None
    """A folder of this machine, outside of the store: copies of the heads of all chains. Who puts the store back to an
    earlier state is then found out also after a restart. One registry's alone; unset keeps none."""
    resign_at_start: bool = False
    """Before serving, sign with the signing key what other keys have signed, so that these can be revoked."""
    events_url: str | None = None
    """The event log: sqlite:///absolute/events.db, or kafka://host:port,host:port. Unset tells no log;
    WatchAliases works without one."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    """How to talk to the brokers of a kafka:// log."""
    scan_period_s: float = 30.0
    """How often the lists are compared with the store. Shorter sees other registries' writes sooner, reads more."""
    heartbeat_s: float = 10.0
    """How often a quiet WatchAliases stream says that it lives. Followers take longer silence for a broken stream."""
    max_file_bytes: int = 16 << 30
    """Largest file of a version, in bytes."""
    max_version_bytes: int = 64 << 30
    """Largest version, all files together, in bytes."""
    file_url_lifetime_s: int = 300
    """How long a URL of GetFileUrl can be used, 1 to 604800. A download that has begun is not cut off by it."""
    max_concurrent_uploads: int = 64
    """Uploads at once; one more is RESOURCE_EXHAUSTED. Each holds a file of its size in the store's folder, or, on S3,
    three parts in memory: 15 MiB for files up to 48 GiB."""
    gc_wait_s: float = 86400.0
    """How long a condemned blob waits before it is deleted. Longer than any publish takes."""
    gc_period_s: float = 0.0
    """How often garbage is collected without being asked, of every tenant; 0 never does, `dragoman gc` always can."""
    rollback_window_s: float = 2592000.0
    """How long a withdrawn version keeps its files."""
    intent_lifetime_s: float = 604800.0
    """How long a begun publish keeps its blobs from garbage collection. More than twice what a publish may take."""
    max_checkpoint_bytes: int = 8 << 30
    """Largest checkpoint of a training job, in bytes; of each running job two are kept."""
    checkpoint_lifetime_s: float = 1_209_600.0
    """How long the checkpoints of a job stay that adds none and never said that it is done."""
    trial_aliases: tuple[str, ...] = ("canary",)
    """Aliases that take any version that was evaluated at all, better or not."""
    ungated_aliases: tuple[str, ...] = ()
    """Aliases without any gate. For experiments; never what users are answered by."""

    def __post_init__(self) -> None:
        """Refuse what S3 would refuse only when the first URL is asked for.

        Raises:
            ValueError: with the setting's name.
        """
        if not 1 <= self.file_url_lifetime_s <= 604800:
            raise ValueError("file_url_lifetime_s must be from 1 to 604800")


def store_root(url: str) -> Path:
    """Return the folder that a store URL names.

    Raises:
        InvalidArgumentError: another scheme than file, or not an absolute path.
    """
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise InvalidArgumentError(
            f"store_url has the scheme {parts.scheme[:20]!r}; objects are kept in file:///absolute/folder or s3://bucket"
        )
    if parts.netloc or parts.query or parts.fragment or not parts.path.strip("/"):
        raise InvalidArgumentError("store_url must be file:///absolute/folder: three slashes, a path, nothing after it")
    return Path("/" + unquote(parts.path).lstrip("/"))
