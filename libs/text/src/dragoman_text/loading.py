# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""From a model package's tokenizer file to a tokenizer.

Owns: the table of backends. Data path: (backend name of model.json, bytes of tokenizer.json) -> Tokenizer.
"""

from collections.abc import Callable

from dragoman_common.errors import InvalidArgumentError
from dragoman_text import basic_english, huggingface
from dragoman_text.tokenizer import Tokenizer

_LOADERS: dict[str, Callable[[bytes], Tokenizer]] = {
    basic_english.BACKEND: basic_english.BasicEnglishTokenizer.from_json,
    huggingface.BACKEND: huggingface.HuggingFaceTokenizer.from_json,
}
BACKENDS = tuple(_LOADERS)


def load_tokenizer(backend: str, data: bytes) -> Tokenizer:
    """Load a tokenizer of a known backend from the bytes of its file.

    Args:
        backend: "basic_english" or "huggingface".
        data: the file; at most 64 MiB.

    Raises:
        InvalidArgumentError: unknown backend, or a file that the backend refuses.
    """
    loader = _LOADERS.get(backend)
    if loader is None:
        raise InvalidArgumentError(f"tokenizer backend {backend[:40]!r} is not one of {', '.join(BACKENDS)}")
    return loader(data)
