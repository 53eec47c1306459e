# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the registry can be told about an S3 store: the bucket by URL, the rest by settings of their own.

Credentials never stand in the URL, so the URL may be shown in logs.
"""

import configparser
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import Secret

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
ENCRYPTIONS = ("AES256", "aws:kms")
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Settings:
    """Every setting of the S3 store; the README's table says the same. Unused on a folder."""

    s3_access_key_id: Secret | None = None
    """With s3_secret_access_key: the credentials."""
    s3_secret_access_key: Secret | None = None
    s3_session_token: Secret | None = None
    """Beside temporary credentials."""
    s3_credentials_file: Path | None = None
    """Instead of these three: an AWS credentials file, profile `default`. It is read again when it has changed, so
    credentials that are rotated in the file need no restart."""
    s3_ca_file: Path | None = None
    """PEM certificates of authorities that the store's TLS certificate may come from, beside the system's."""
    s3_encryption: str | None = None
    """Server-side encryption asked for each object: AES256 (the store's own key) or aws:kms. Unset leaves it to the
    bucket."""
    s3_encryption_key_id: str | None = None
    """The KMS key for aws:kms; unset takes the bucket's."""
    s3_timeout_s: float = 10.0
    """The longest silence of a request before it counts as failed."""
    s3_retries: int = 2
    """How often a request that may be repeated is repeated."""

    def __post_init__(self) -> None:
        """Refuse what could only fail later.

        Raises:
            ValueError: with the setting's name.
        """
        if self.s3_encryption not in (None, *ENCRYPTIONS):
            raise ValueError(f"s3_encryption must be one of {', '.join(ENCRYPTIONS)}")
        if self.s3_encryption_key_id and self.s3_encryption != "aws:kms":
            raise ValueError("s3_encryption_key_id goes with s3_encryption=aws:kms only")
        if not 0.1 <= self.s3_timeout_s <= 3600:
            raise ValueError("s3_timeout_s must be from 0.1 to 3600")
        if not 0 <= self.s3_retries <= 10:
            raise ValueError("s3_retries must be from 0 to 10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """Where the objects are: s3://bucket?endpoint=...&region=..."""

    name: str
    endpoint: str | None
    """None: AWS's endpoint of the region."""
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What requests are signed with."""

    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None = None


def bucket_from_url(url: str) -> Bucket:
    """Return the bucket that a store URL names.

    Raises:
        InvalidArgumentError: it is not s3://bucket?endpoint=...&region=...; the text does not repeat the URL.
    """
    form = "store_url must be s3://bucket?endpoint=http://host:port&region=name"
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InvalidArgumentError(f"{form}: credentials belong in s3_credentials_file, not in the URL")
    if parts.scheme != "s3" or parts.path.strip("/") or parts.fragment or not _BUCKET.fullmatch(parts.netloc):
        raise InvalidArgumentError(form)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    endpoint, region = options.pop("endpoint", None), options.pop("region", DEFAULT_REGION)
    if options:
        raise InvalidArgumentError(f"{form}: it has no option {', '.join(sorted(options))[:80]}")
    if not _REGION.fullmatch(region):
        raise InvalidArgumentError(f"{form}: the region is not a name")
    if endpoint is not None:
        at = urlsplit(endpoint)
        if at.scheme not in ("http", "https") or not at.hostname or at.path.strip("/") or at.query or "@" in at.netloc:
            raise InvalidArgumentError(f"{form}: the endpoint is not http(s)://host[:port]")
        endpoint = endpoint.rstrip("/")
    return Bucket(name=parts.netloc, endpoint=endpoint, region=region)


def credentials(settings: S3Settings) -> Credentials:
    """Return the credentials that the settings lead to.

    Raises:
        InvalidArgumentError: none, half, or two of them, or a file that cannot be read; never with a secret's text.
    """
    key_id, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    if settings.s3_credentials_file is not None:
        if key_id or secret or settings.s3_session_token:
            raise InvalidArgumentError("set s3_credentials_file or s3_access_key_id, not both")
        return _from_file(settings.s3_credentials_file)
    if not key_id or not secret or not key_id.reveal() or not secret.reveal():
        raise InvalidArgumentError(
            "an s3:// store needs s3_credentials_file, or s3_access_key_id and _secret_access_key"
        )
    return Credentials(access_key_id=key_id, secret_access_key=secret, session_token=settings.s3_session_token)


def _from_file(path: Path) -> Credentials:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        profile = parser["default"]
        token = profile.get("aws_session_token")
        return Credentials(
            access_key_id=Secret(profile["aws_access_key_id"]),
            secret_access_key=Secret(profile["aws_secret_access_key"]),
            session_token=Secret(token) if token else None,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"s3_credentials_file {path.name} cannot be read: {type(error).__name__}") from None
    except (configparser.Error, KeyError):
        # The parser's own message quotes the line, which may be the secret.
        raise InvalidArgumentError(
            f"s3_credentials_file {path.name} needs a profile [default] with aws_access_key_id and "
            "aws_secret_access_key"
        ) from None
