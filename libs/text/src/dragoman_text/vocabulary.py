# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A vocabulary: the ordered list of tokens whose positions are the ids.

Owns: how one is built from counted tokens, looked up, written and read. Not how text becomes tokens.
Data path: token lists -> counts -> specials first, then frequent ones -> id per token -> JSON and back.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from dragoman_common.errors import InvalidArgumentError
from dragoman_text import strict_json
from dragoman_text.tokenizer import MAX_FILE_BYTES, MAX_VOCABULARY_SIZE

_FORMAT = "dragoman.vocabulary/1"
_KEYS = ("format", "specials", "default_index", "tokens")
_MAX_TOKEN_CHARACTERS = 65_536


class Vocabulary:
    """Tokens and their ids; immutable."""

    __slots__ = ("_default_index", "_index", "_specials", "_tokens")

    def __init__(
        self, tokens: Sequence[str], *, specials: Sequence[str] = (), default_index: int | None = None
    ) -> None:
        """Take the tokens in id order.

        Args:
            tokens: every token, the specials first.
            specials: the reserved ones; must be the head of `tokens`.
            default_index: id of tokens that are absent; None makes looking one up an error.

        Raises:
            InvalidArgumentError: a token repeats, is too long or has no UTF-8 form; specials are not the head;
                default_index is no id; more than 2,000,000 tokens.
        """
        if len(tokens) > MAX_VOCABULARY_SIZE:
            raise InvalidArgumentError(f"a vocabulary has {len(tokens):,} tokens; the limit is {MAX_VOCABULARY_SIZE:,}")
        for position, token in enumerate(tokens):
            _check_token(position, token)
        if tuple(tokens[: len(specials)]) != tuple(specials):
            raise InvalidArgumentError("specials must be the first tokens of a vocabulary, in order")
        if default_index is not None and not 0 <= default_index < len(tokens):
            raise InvalidArgumentError(f"default_index {default_index} is not in [0, {len(tokens)})")
        self._tokens = tuple(tokens)
        self._specials = tuple(specials)
        self._default_index = default_index
        self._index = {token: position for position, token in enumerate(self._tokens)}
        if len(self._index) != len(self._tokens):
            token, _ = Counter(self._tokens).most_common(1)[0]
            raise InvalidArgumentError(f"token {token[:40]!r} is in the vocabulary more than once")

    @classmethod
    def build(
        cls,
        token_lists: Iterable[Iterable[str]],
        *,
        specials: Sequence[str] = (),
        min_frequency: int = 1,
        max_size: int | None = None,
        default_index: int | None = None,
    ) -> Self:
        """Count tokens and keep the frequent ones: by frequency descending, then by code points.

        The cut to `max_size` is made first and the specials and the rare tokens are left out after it, so a special
        that also occurs as a token costs its place: the result can be smaller than `max_size`. Tokens above 65,536
        characters (a file pasted into a text) are left out.

        Args:
            token_lists: one iterable of tokens per text.
            specials: put first, in this order, whatever their counts.
            min_frequency: tokens seen less often are left out; at least 1.
            max_size: most tokens, specials included; None keeps all.
            default_index: as in the constructor.

        Raises:
            InvalidArgumentError: min_frequency < 1, or max_size has no room beside the specials.

        Source: torchtext 0.18, build_vocab_from_iterator and vocab (behaviour, held by tests/golden);
            deviation: tokens of giant length are left out.
        """
        if min_frequency < 1:
            raise InvalidArgumentError(f"min_frequency is {min_frequency}; it must be at least 1")
        if max_size is not None and max_size <= len(specials):
            raise InvalidArgumentError(f"max_size is {max_size}; it must be above the {len(specials)} special tokens")
        counts: Counter[str] = Counter()
        for tokens in token_lists:
            counts.update(tokens)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = ranked if max_size is None else ranked[: max_size - len(specials)]
        reserved = frozenset(specials)
        words = [
            token
            for token, count in kept
            if count >= min_frequency and token not in reserved and len(token) <= _MAX_TOKEN_CHARACTERS
        ]
        return cls([*specials, *words], specials=specials, default_index=default_index)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidArgumentError: not strict JSON, an unknown or missing key, or a field that the constructor refuses.
        """
        value = strict_json.parse_object(data, what="vocabulary", max_bytes=MAX_FILE_BYTES)
        return cls.from_fields(value)

    @classmethod
    def from_fields(cls, value: Mapping[str, object]) -> Self:
        """Build from a parsed JSON object; see `from_json`."""
        strict_json.require_keys(value, _KEYS, what="vocabulary")
        if value["format"] != _FORMAT:
            raise InvalidArgumentError(f"vocabulary format must be {_FORMAT!r}")
        tokens, specials, default_index = value["tokens"], value["specials"], value["default_index"]
        if not isinstance(tokens, list) or not isinstance(specials, list):
            raise InvalidArgumentError("vocabulary tokens and specials must be lists of strings")
        if default_index is not None and type(default_index) is not int:
            raise InvalidArgumentError("vocabulary default_index must be an integer or null")
        return cls(tokens, specials=specials, default_index=default_index)

    def to_fields(self) -> dict[str, object]:
        """The JSON object of this vocabulary."""
        return {
            "format": _FORMAT,
            "specials": list(self._specials),
            "default_index": self._default_index,
            "tokens": list(self._tokens),
        }

    def to_json(self) -> bytes:
        """Canonical bytes: equal vocabularies, equal bytes."""
        return strict_json.dump(self.to_fields())

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens; position = id."""
        return self._tokens

    @property
    def specials(self) -> tuple[str, ...]:
        """The reserved tokens at the head."""
        return self._specials

    @property
    def default_index(self) -> int | None:
        """Id of absent tokens, if lookups of them are allowed."""
        return self._default_index

    @property
    def index(self) -> Mapping[str, int]:
        """Token -> id, read-only."""
        return MappingProxyType(self._index)

    def lookup(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens.

        Raises:
            InvalidArgumentError: a token is absent and there is no default index.
        """
        ids = []
        for token in tokens:
            position = self._index.get(token, self._default_index)
            if position is None:
                raise InvalidArgumentError(f"token {token[:40]!r} is not in the vocabulary, which has no default index")
            ids.append(position)
        return ids

    def __len__(self) -> int:
        """Number of tokens, specials included."""
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        """Tokens in id order."""
        return iter(self._tokens)

    def __contains__(self, token: object) -> bool:
        """Whether the token has an id of its own."""
        return token in self._index

    def __eq__(self, other: object) -> bool:
        """Equal when every lookup gives the same answer."""
        return isinstance(other, Vocabulary) and self.to_fields() == other.to_fields()

    def __hash__(self) -> int:
        """Hash of the tokens."""
        return hash(self._tokens)


def _check_token(position: int, token: object) -> None:
    if not isinstance(token, str) or not token:
        raise InvalidArgumentError(f"vocabulary token {position} must be a string that is not empty")
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise InvalidArgumentError(
            f"vocabulary token {position} has {len(token):,} characters; the limit is {_MAX_TOKEN_CHARACTERS:,}"
        )
    try:
        token.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"vocabulary token {position} has no UTF-8 form") from error
