# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers in the Hugging Face `tokenizer.json` format (BPE, WordPiece, word level, unigram).

Owns: reading such a file without believing it, and encoding without letting a text name a special token.
Not training: see huggingface_training.py. Data path: bytes -> strict JSON, known keys, bounded vocabulary -> the
`tokenizers` library -> ids per text -> cut to max_tokens -> the model's template ([CLS] ... [SEP]) around them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from dragoman_common.errors import InvalidArgumentError
from dragoman_text import strict_json
from dragoman_text.tokenizer import MAX_FILE_BYTES, MAX_VOCABULARY_SIZE, PAD_TOKEN, Encoding, require_utf8

BACKEND = "huggingface"
_FILE = "tokenizer.json"
_KEYS = (
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
)
_MODEL_KEYS = {
    "BPE": {
        "type",
        "dropout",
        "unk_token",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "fuse_unk",
        "byte_fallback",
        "ignore_merges",
        "vocab",
        "merges",
    },
    "WordPiece": {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
    "WordLevel": {"type", "unk_token", "vocab"},
    "Unigram": {"type", "unk_id", "byte_fallback", "vocab"},
}
# A word of n characters costs WordPiece up to n squared look-ups; above this a word is unknown.
_MAX_WORD_CHARACTERS = 1_000
_PAD_TOKENS = (PAD_TOKEN, "[PAD]")


class HuggingFaceTokenizer:
    """A Tokenizer (tokenizer.py) over the `tokenizers` library."""

    __slots__ = ("_num_template", "_pad_id", "_reserved_ids", "_tokenizer", "_unknown_id", "_vocabulary_size")

    def __init__(self, data: bytes, *, interpret_special_tokens: bool = False) -> None:
        """Load a file; see `from_json` for what is refused."""
        value = strict_json.parse_object(data, what=_FILE, max_bytes=MAX_FILE_BYTES)
        _check_file(value)
        with _library_errors(_FILE):
            self._tokenizer = tokenizers.Tokenizer.from_str(data.decode())
        # Truncation and padding belong to the call and the batch; a file's own would silently change the rows.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = not interpret_special_tokens
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        self._vocabulary_size = max(ids.values(), default=-1) + 1
        if not 0 < self._vocabulary_size <= MAX_VOCABULARY_SIZE:
            raise InvalidArgumentError(
                f"{_FILE}: the vocabulary needs {self._vocabulary_size:,} ids; 1 to {MAX_VOCABULARY_SIZE:,} are allowed"
            )
        _check_added(value["added_tokens"], ids)
        self._pad_id = _pad_id(value["padding"], ids)
        self._unknown_id = _unknown_id(value["model"], ids)
        if self._pad_id == self._unknown_id:
            raise InvalidArgumentError(f"{_FILE}: padding and unknown words share an id: name another padding token")
        special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        reserved = {self._pad_id} if interpret_special_tokens else special | {self._pad_id}
        self._reserved_ids = np.array(sorted(reserved - {self._unknown_id}), dtype=np.int32)
        self._num_template = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._check_template()

    @classmethod
    def from_json(cls, data: bytes, *, interpret_special_tokens: bool = False) -> Self:
        """Load a `tokenizer.json`.

        Args:
            data: the file; at most 64 MiB.
            interpret_special_tokens: let "[SEP]" in a text become the special id. Only for text that this platform
                wrote itself (chat templates): in a user's text it hands the user the model's control tokens.

        Raises:
            InvalidArgumentError: not strict JSON, unknown keys, an unknown model type, BPE dropout (its encodings are
                random), no padding token, a vocabulary above the limit, or the library refuses the file.
        """
        return cls(data, interpret_special_tokens=interpret_special_tokens)

    def to_json(self) -> bytes:
        """The file of this tokenizer, canonical; the padding entry keeps the padding token."""
        value = strict_json.parse_object(self._tokenizer.to_str().encode(), what=_FILE, max_bytes=2 * MAX_FILE_BYTES)
        value["padding"] = {
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": self._pad_id,
            "pad_type_id": 0,
            "pad_token": self._tokenizer.id_to_token(self._pad_id),
        }
        return strict_json.dump(value)

    @property
    def vocabulary_size(self) -> int:
        """Largest id + 1, added tokens included."""
        return self._vocabulary_size

    @property
    def pad_id(self) -> int:
        """Id of the file's padding token."""
        return self._pad_id

    @property
    def unknown_id(self) -> int | None:
        """Id of the model's unknown token, if it has one."""
        return self._unknown_id

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[Encoding]:
        """See Tokenizer.encode. The library runs outside the interpreter lock."""
        if max_tokens <= self._num_template:
            raise InvalidArgumentError(
                f"max_tokens is {max_tokens}; this tokenizer adds {self._num_template} special tokens to a row, "
                f"so it must be at least {self._num_template + 1}"
            )
        require_utf8(texts)
        with _library_errors("encoding"):
            rows = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [self._finish(row, max_tokens) for row in rows]

    def _finish(self, row: tokenizers.Encoding, max_tokens: int) -> Encoding:
        room = max_tokens - self._num_template
        truncated = len(row) > room
        if truncated:
            row.truncate(room)
        if self._num_template:
            row = self._tokenizer.post_process(row, None, add_special_tokens=True)
        ids = np.array(row.ids, dtype=np.int32)
        from_text = np.array(row.special_tokens_mask, dtype=np.int32) == 0
        # A word level model whose words may be "[SEP]" would look the special token up like any other word.
        forged = np.isin(ids, self._reserved_ids) & from_text
        if forged.any():
            if self._unknown_id is None:
                ids, from_text = ids[~forged], from_text[~forged]
            else:
                ids[forged] = self._unknown_id
        unknown = 0 if self._unknown_id is None else np.count_nonzero((ids == self._unknown_id) & from_text)
        return Encoding(ids=ids, truncated=truncated, num_unknown=int(unknown))

    def _check_template(self) -> None:
        # A template names its ids itself; one outside the vocabulary would index past the embedding table.
        with _library_errors(_FILE):
            template = self._tokenizer.post_process(self._tokenizer.encode("", add_special_tokens=False)).ids
        if len(template) != self._num_template or any(i >= self._vocabulary_size for i in template):
            raise InvalidArgumentError(f"{_FILE}: post_processor adds token ids that are not in the vocabulary")
        if self._pad_id in template:
            raise InvalidArgumentError(f"{_FILE}: post_processor adds the padding token to rows")

    def decode(self, ids: Sequence[int] | NDArray[np.int32]) -> str:
        """See Tokenizer.decode; template tokens are left out too."""
        positions = np.asarray(ids, dtype=np.int64).reshape(-1)
        if ((positions < 0) | (positions >= self._vocabulary_size)).any():
            raise InvalidArgumentError(f"token ids must be in [0, {self._vocabulary_size})")
        kept = positions[~np.isin(positions, self._reserved_ids)]
        with _library_errors("decoding"):
            return self._tokenizer.decode(kept.tolist(), skip_special_tokens=False)


def _check_file(value: Mapping[str, Any]) -> None:
    strict_json.require_keys(value, _KEYS, what=_FILE)
    model = value["model"]
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(kind, str) or kind not in _MODEL_KEYS:
        raise InvalidArgumentError(f"{_FILE}: model.type must be one of {', '.join(_MODEL_KEYS)}")
    if unknown := sorted(model.keys() - _MODEL_KEYS[kind]):
        raise InvalidArgumentError(f"{_FILE}: model has unknown keys: {', '.join(unknown)[:200]}")
    if model.get("dropout"):
        raise InvalidArgumentError(f"{_FILE}: model.dropout must be null or 0: with it the same text gets other ids")
    longest = model.get("max_input_chars_per_word", 0)
    if not isinstance(longest, int) or not 0 <= longest <= _MAX_WORD_CHARACTERS:
        raise InvalidArgumentError(f"{_FILE}: model.max_input_chars_per_word must be at most {_MAX_WORD_CHARACTERS:,}")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, list if kind == "Unigram" else dict):
        raise InvalidArgumentError(f"{_FILE}: model.vocab has the wrong type for {kind}")
    if len(vocabulary) > MAX_VOCABULARY_SIZE:
        raise InvalidArgumentError(
            f"{_FILE}: the vocabulary has {len(vocabulary):,} entries; the limit is {MAX_VOCABULARY_SIZE:,}"
        )


def _check_added(added: object, ids: Mapping[str, int]) -> None:
    """Refuse ids that the library would quietly replace: the file would then mean two things to two readers."""
    if not isinstance(added, list):
        raise InvalidArgumentError(f"{_FILE}: added_tokens must be a list")
    for entry in added:
        if ids.get(entry["content"]) != entry["id"]:
            raise InvalidArgumentError(
                f"{_FILE}: added token {entry['content'][:40]!r} has another id in the vocabulary"
            )


def _pad_id(padding: object, ids: Mapping[str, int]) -> int:
    names = [padding["pad_token"]] if isinstance(padding, dict) and "pad_token" in padding else _PAD_TOKENS
    for name in names:
        if name in ids:
            return ids[name]
    raise InvalidArgumentError(f"{_FILE} has no padding token: add {' or '.join(map(repr, names))} to its vocabulary")


def _unknown_id(model: Mapping[str, Any], ids: Mapping[str, int]) -> int | None:
    if model["type"] == "Unigram":
        return model.get("unk_id")
    token = model.get("unk_token")
    if token is None:
        return None
    if token not in ids:
        raise InvalidArgumentError(f"{_FILE}: model.unk_token {str(token)[:40]!r} is not in the vocabulary")
    return ids[token]


@contextmanager
def _library_errors(what: str) -> Iterator[None]:
    """Turn what the library raises (bare Exception; PanicException, a BaseException) into our error."""
    try:
        yield
    except InvalidArgumentError:
        raise
    except Exception as error:  # the library's bindings raise nothing narrower
        raise InvalidArgumentError(f"{what} failed in the tokenizers library: {str(error)[:200]}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InvalidArgumentError(f"{what} failed in the tokenizers library: {str(error)[:200]}") from error
