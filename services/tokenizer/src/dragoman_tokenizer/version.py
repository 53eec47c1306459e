# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What the tokenizer service knows of a model version: its name, its verified file list, its tokenizer.

Owns: the nouns and the rules of a name. Not where versions come from (ports.py) nor what they tokenise (encoding.py).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dragoman_common.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from dragoman_common.names import check_name
from dragoman_models.file_digest import FileDigest
from dragoman_text import Tokenizer

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class VersionNotFoundError(NotFoundError):
    """The tenant has no such model version."""


class UnusableVersionError(FailedPreconditionError):
    """The version is what was signed, and its tokenizer cannot be served."""


class WithdrawnVersionError(FailedPreconditionError):
    """The version was taken out of use for good, by a tombstone that a trusted key signed."""

    def __init__(self, name: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{name} was withdrawn ({reason}); ask for a version that an alias points to")


@dataclass(frozen=True, slots=True)
class VersionName:
    """One version of one tenant's model, named whole: no alias, so nothing moves between two calls."""

    tenant: str
    model: str
    number: int
    root_sha256: str = ""
    """When set, the version must have this root digest."""

    def __post_init__(self) -> None:
        """Refuse what cannot name a version, before it is looked up or shown.

        Raises:
            InvalidArgumentError: naming the field.
        """
        check_name(self.model, field="version.model")
        if self.number < 1:
            raise InvalidArgumentError(f"version.number is {self.number}; versions count from 1")
        if self.root_sha256 and not _SHA256.fullmatch(self.root_sha256):
            raise InvalidArgumentError("version.root_sha256 must be empty or 64 lower-case hexadecimal digits")

    def __str__(self) -> str:
        """As error texts say it; the tenant is the caller's own."""
        return f"model {self.model} version {self.number}"


@dataclass(frozen=True, slots=True)
class VerifiedVersion:
    """A version's record after its signature was verified: the only word on what its files hold."""

    root_sha256: str
    files: Mapping[str, FileDigest]
    """By path."""


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """What has to be known of a version before its tokenizer is loaded."""

    root_sha256: str
    backend: str
    file: FileDigest
    max_text_bytes: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class ServedTokenizer:
    """A loaded tokenizer and the limits of the version that it answers for."""

    name: VersionName
    spec: TokenizerSpec
    tokenizer: Tokenizer
