# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Every bound on what a caller may send, in one table, checked before anything is allocated for it.

The cap on a whole message is held by the servers themselves (gRPC and HTTP); it stands here so that all bounds are read
in one place. A version's own `max_text_bytes` may be lower than the platform's and is checked beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError

_FRAMING_BYTES = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    max_message_bytes: int = 4 * 1024 * 1024
    """One request, encoded, on either port."""
    max_rows: int = 256
    """Rows of text in one call."""
    max_text_bytes: int = 65_536
    """One row as UTF-8."""
    max_call_tokens: int = 131_072
    """All rows of one call together; workers take no more."""
    max_tensors: int = 16
    """Inputs, and requested outputs, of one call."""
    max_parameters: int = 64
    """Parameters of one call or one tensor."""
    max_client_id_bytes: int = 256
    """The client's own id, which is echoed."""
    max_feedback_items: int = 1_000
    """True labels in one call."""
    max_label_chars: int = 128
    """One true label; the monitor counts no longer ones."""

    @property
    def max_call_text_bytes(self) -> int:
        """All rows together: what still fits a message to the tokenizer beside the version's name and the framing."""
        return self.max_message_bytes - min(_FRAMING_BYTES, self.max_message_bytes // 2)

    def check_num_rows(self, num_rows: int, *, field: str) -> None:
        """Refuse no rows, and too many.

        Raises:
            InvalidArgumentError: names the field and the limit.
        """
        if num_rows < 1:
            raise InvalidArgumentError(f"{field}: no rows; send at least one text")
        if num_rows > self.max_rows:
            raise InvalidArgumentError(f"{field}: {num_rows} rows, at most {self.max_rows} a call; send several calls")

    def check_text_size(self, num_bytes: int, *, field: str, row: int, max_bytes: int) -> None:
        """Refuse a row by its size alone, before it is decoded. `max_bytes` is the version's own limit."""
        limit = min(max_bytes, self.max_text_bytes)
        if num_bytes > limit:
            raise InvalidArgumentError(
                f"{field}[{row}] has {num_bytes} bytes, over max_text_bytes = {limit}; shorten or split the text"
            )

    def check_texts(self, texts: Sequence[str], *, field: str, max_bytes: int) -> tuple[int, ...]:
        """Check every row and return its size in bytes of UTF-8.

        Raises:
            InvalidArgumentError: a row is empty, blank, or over the limit; names row and limit.
        """
        sizes = []
        for row, text in enumerate(texts):
            if not text or text.isspace():
                what = "holds only white space" if text else "is empty"
                raise InvalidArgumentError(f"{field}[{row}] {what}; send at least one word")
            size = len(text.encode())
            self.check_text_size(size, field=field, row=row, max_bytes=max_bytes)
            sizes.append(size)
        if sum(sizes) > self.max_call_text_bytes:
            raise InvalidArgumentError(
                f"{field}: {sum(sizes)} bytes together, at most {self.max_call_text_bytes} a call; send fewer rows"
            )
        return tuple(sizes)

    def check_num_tokens(self, num_tokens: int, *, field: str) -> None:
        """Refuse rows that are too long together, before a worker does.

        Raises:
            InvalidArgumentError: names the field and the limit.
        """
        if num_tokens > self.max_call_tokens:
            raise InvalidArgumentError(
                f"{field}: {num_tokens} tokens together, at most {self.max_call_tokens} a call; send fewer rows"
            )

    def check_client_id(self, client_id: str, *, field: str) -> None:
        if len(client_id.encode()) > self.max_client_id_bytes:
            raise InvalidArgumentError(f"{field} is over {self.max_client_id_bytes} bytes; send a shorter id")
