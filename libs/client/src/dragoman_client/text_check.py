# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Texts as the wire takes them: UTF-8. A Python string can hold what has no UTF-8, such as half of a surrogate pair."""

from collections.abc import Sequence

from dragoman_common.errors import InvalidArgumentError


def check_text(field: str, value: object) -> str:
    """Return the text if it can be sent.

    Raises:
        InvalidArgumentError: naming the field: no str, or one that UTF-8 cannot say.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{field} is {type(value).__name__}, must be a str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{field}: character {error.start + 1} is {value[error.start]!a}, a lone surrogate, which is no text: "
            "decode the bytes that it came from with their own encoding, or with errors='replace'"
        ) from None
    return value


def check_texts(field: str, values: Sequence[object]) -> list[str]:
    """Return the rows if all can be sent.

    Raises:
        InvalidArgumentError: one text instead of a list of them, no row, or a row that is no text; the row is named.
    """
    if isinstance(values, str | bytes):
        raise InvalidArgumentError(f'{field} is one {type(values).__name__}, must be a list of them: ["..."]')
    return [check_text(f"{field}[{row}]", value) for row, value in enumerate(values)]


def decoded_line(data: bytes, source: str, number: int) -> str:
    """One line of input as text.

    Raises:
        InvalidArgumentError: its bytes are not UTF-8; the line and the byte are named.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{source}, line {number}: byte {error.start + 1} is 0x{data[error.start]:02x}, which is not UTF-8: "
            "convert the text first, for instance with iconv -f latin1 -t utf8"
        ) from None
