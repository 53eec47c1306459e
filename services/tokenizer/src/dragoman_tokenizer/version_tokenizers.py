# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a version's name to its tokenizer, believing nothing that was not signed.

Owns: which bytes are read, how they are checked, and what is kept. Data path: name -> verified manifest -> model.json
(size, digest, strict parse) -> spec -> tokenizer.json (size, digest) -> dragoman_text.load_tokenizer -> cache.

What is kept may be withdrawn: the record is asked for again while it is used (dragoman_common.recheck), so that 30 s
after a withdrawal no call is answered, and a call hardly ever waits for that. While the registry is away, what is known
holds.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor

from dragoman_common.audit import Audit
from dragoman_common.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from dragoman_common.recheck import Rechecks
from dragoman_models.file_digest import FileDigest
from dragoman_models.package import MAX_MODEL_JSON_BYTES, MODEL_FILE, parse_model_config
from dragoman_models.verify_files import verify_chunks
from dragoman_text import Tokenizer, load_tokenizer
from dragoman_tokenizer.ports import VersionSource
from dragoman_tokenizer.tokenizer_cache import TokenizerCache
from dragoman_tokenizer.version import (
    ServedTokenizer,
    TokenizerSpec,
    UnusableVersionError,
    VerifiedVersion,
    VersionName,
    VersionNotFoundError,
    WithdrawnVersionError,
)

_Place = tuple[str, str, int]
_audit = Audit("tokenizer")


class VersionTokenizers:
    """The tokenizers of all versions, loaded when first asked for.

    Loaded tokenizers are shared by all versions of a tenant with the same file. Never across tenants: how fast a call
    is must not tell one tenant what another has.
    """

    def __init__(
        self,
        source: VersionSource,
        executor: Executor,
        *,
        max_cached_bytes: int,
        max_cached_versions: int,
        load_timeout_s: float,
    ) -> None:
        self._source = source
        self._executor = executor
        self._max_cached_bytes = max_cached_bytes
        self._max_cached_versions = max_cached_versions
        # Why each is out of use: final, so those need not be asked for again.
        self._withdrawn: OrderedDict[_Place, str] = OrderedDict()
        self._rechecks: Rechecks[_Place] = Rechecks(self._recheck, max_keys=max_cached_versions)
        self._specs: TokenizerCache[_Place, TokenizerSpec] = TokenizerCache(
            max_weight=max_cached_versions, load_timeout_s=load_timeout_s, max_concurrent_loads=8
        )
        self._tokenizers: TokenizerCache[tuple[str, str, str], Tokenizer] = TokenizerCache(
            max_weight=max_cached_bytes, load_timeout_s=load_timeout_s
        )

    async def get(self, name: VersionName) -> ServedTokenizer:
        """The tokenizer of a version.

        Raises:
            VersionNotFoundError: the tenant has no such version.
            WithdrawnVersionError: it was taken out of use.
            FailedPreconditionError: the version has another root digest than `name` asks for.
            UnusableVersionError: its tokenizer is above the cache's size, or does not parse.
            DataLossError: stored bytes are not what was signed.
            UnavailableError: the registry is away or slow.
        """
        place = (name.tenant, name.model, name.number)
        self._check_in_use(name, place)
        if place in self._specs:
            await self._rechecks.before_use(place)
            self._check_in_use(name, place)
        spec = await self._specs.get(place, lambda: self._load_spec(name))
        if name.root_sha256 and name.root_sha256 != spec.root_sha256:
            raise FailedPreconditionError(
                f"{name} has the root digest {spec.root_sha256}, not {name.root_sha256}: ask for the version again"
            )
        if spec.file.size_bytes > self._max_cached_bytes:
            raise UnusableVersionError(
                f"{spec.file.path} of {name} has {spec.file.size_bytes:,} bytes; "
                f"this service loads up to {self._max_cached_bytes:,} bytes"
            )
        tokenizer = await self._tokenizers.get(
            # The backend is part of the key: two versions may read the same file in two ways.
            (name.tenant, spec.backend, spec.file.sha256),
            lambda: self._load_tokenizer(name, spec),
            weight=spec.file.size_bytes,
        )
        return ServedTokenizer(name, spec, tokenizer)

    def keys_are_newer(self) -> None:
        """Verify every version again before its next use. One that does not hold stays in use while it is in memory."""
        self._rechecks.expire()

    async def close(self) -> None:
        """Stop the loads under way."""
        await self._rechecks.close()
        await self._specs.close()
        await self._tokenizers.close()

    def _check_in_use(self, name: VersionName, place: _Place) -> None:
        if place in self._withdrawn:
            raise WithdrawnVersionError(name, self._withdrawn[place])

    async def _recheck(self, place: _Place) -> None:
        name = VersionName(*place)
        try:
            await self._source.manifest(name)
        except WithdrawnVersionError as error:
            self._withdrawn[place] = error.reason
            if len(self._withdrawn) > self._max_cached_versions:
                self._withdrawn.popitem(last=False)
        except (DataLossError, VersionNotFoundError) as error:
            # Only a tombstone that verifies takes a version out of use, and not whoever spoils what is stored.
            _audit.refused(
                f"{name.tenant}/{name.model}/versions/{name.number}",
                f"{error.message}; its tokenizer stays in use while it is in memory, and is not loaded anew",
            )

    async def _load_spec(self, name: VersionName) -> TokenizerSpec:
        manifest = await self._source.manifest(name)
        self._rechecks.note((name.tenant, name.model, name.number))
        model_file = _entry(name, manifest, MODEL_FILE)
        if model_file.size_bytes > MAX_MODEL_JSON_BYTES:
            raise UnusableVersionError(
                f"{MODEL_FILE} of {name} has {model_file.size_bytes:,} bytes; the limit is {MAX_MODEL_JSON_BYTES:,}"
            )
        data = await self._source.read(name, MODEL_FILE, model_file.size_bytes)
        verify_chunks([data], model_file, what=str(name))
        try:
            config = parse_model_config(data)
        except InvalidArgumentError as error:
            raise UnusableVersionError(f"{name} cannot be used: {error.message}") from error
        return TokenizerSpec(
            root_sha256=manifest.root_sha256,
            backend=config.tokenizer.backend,
            file=_entry(name, manifest, config.tokenizer.file),
            max_text_bytes=config.input_limits.max_text_bytes,
            max_tokens=config.input_limits.max_tokens,
        )

    async def _load_tokenizer(self, name: VersionName, spec: TokenizerSpec) -> Tokenizer:
        data = await self._source.read(name, spec.file.path, spec.file.size_bytes)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _open, name, spec, data)


def _open(name: VersionName, spec: TokenizerSpec, data: bytes) -> Tokenizer:
    verify_chunks([data], spec.file, what=str(name))
    try:
        tokenizer = load_tokenizer(spec.backend, data)
        # A template longer than the row limit would make every later call look like the caller's mistake.
        tokenizer.encode(["a"], spec.max_tokens)
    except InvalidArgumentError as error:
        raise UnusableVersionError(f"{name} cannot be used: {error.message}") from error
    return tokenizer


def _entry(name: VersionName, manifest: VerifiedVersion, path: str) -> FileDigest:
    entry = manifest.files.get(path)
    if entry is None:
        raise UnusableVersionError(f"{name} has no file {path}")
    return entry
