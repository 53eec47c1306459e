# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The GloVe package's two files, turned into the usual GloVe text file.

Owns a reader for exactly what that package holds: one required-or-optional string column in Parquet (Snappy pages,
plain or dictionary encoded) and one float32 matrix in npy. It is no general Parquet reader; whatever it was not
written for is refused, which is safe because the package's digest is pinned.

    index.parquet -> words ┐
    matrix.npy    -> rows  ┴-> "word v1 ... vD" lines

Source: Apache Parquet format (thrift compact protocol, data page v1, RLE/bit-packed hybrid), Snappy format description.
"""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dragoman_common.errors import DataLossError

ThriftValue: TypeAlias = "bool | int | float | bytes | list[ThriftValue] | dict[int, ThriftValue]"
_Struct: TypeAlias = dict[int, ThriftValue]

_MAGIC = b"PAR1"
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_SNAPPY = 1


def write_vectors(index_parquet: bytes, matrix_npy: bytes, target: Path) -> int:
    """Write one line per word; the numbers read back as the same float32.

    Returns:
        The number of words.

    Raises:
        DataLossError: the two files do not fit each other or are not what this module reads.
    """
    words = read_words(index_parquet)
    matrix = _read_matrix(matrix_npy)
    if len(words) != len(matrix):
        raise DataLossError(f"GloVe: {len(words)} words but {len(matrix)} vectors")
    line = " ".join(["%s", *["%.6g"] * matrix.shape[1]]) + "\n"
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line % (word, *row.tolist()) for word, row in zip(words, matrix, strict=True))
    return len(words)


def read_words(parquet: bytes) -> list[str]:
    """Return the strings of the file's only column.

    Raises:
        DataLossError: not the kind of file that this module reads.
    """
    try:
        if parquet[:4] != _MAGIC or parquet[-4:] != _MAGIC:
            raise DataLossError("GloVe index: not a Parquet file")
        footer_bytes = struct.unpack("<I", parquet[-8:-4])[0]
        footer, _ = _Thrift(parquet, len(parquet) - 8 - footer_bytes).read_struct()
        words: list[bytes] = []
        for group in _structs(footer[4]):
            (chunk,) = _structs(group[1])
            words.extend(_column(parquet, _struct(chunk[3])))
        if len(words) != footer[3]:
            raise DataLossError(f"GloVe index: {len(words)} words read, {_integer(footer[3])} promised")
        return [word.decode("utf-8") for word in words]
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise DataLossError("GloVe index: damaged Parquet file") from error


def _read_matrix(npy: bytes) -> NDArray[np.float32]:
    try:
        matrix = np.load(io.BytesIO(npy), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataLossError("GloVe matrix: damaged npy file") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype != np.float32:
        raise DataLossError("GloVe matrix: must be a two-dimensional float32 array")
    return matrix


def _column(parquet: bytes, meta: _Struct) -> Iterator[bytes]:
    """Yield a column chunk's values, page by page."""
    if meta[4] != _SNAPPY:
        raise DataLossError("GloVe index: only Snappy pages are read")
    remaining = _integer(meta[5])
    position = _integer(meta.get(11, meta[9]))
    dictionary: list[bytes] = []
    while remaining > 0:
        header, position = _Thrift(parquet, position).read_struct()
        end = position + _integer(header[3])
        page = _unsnap(parquet[position:end], _integer(header[2]))
        position = end
        if header[1] == _DICTIONARY_PAGE:
            dictionary = list(_plain(page, 0, _integer(_struct(header[7])[1])))
            continue
        if header[1] != _DATA_PAGE:
            raise DataLossError("GloVe index: only data pages of version 1 are read")
        data = _struct(header[5])
        count = _integer(data[1])
        start = _skip_levels(page, count)
        if data[2] == _PLAIN:
            yield from _plain(page, start, count)
        elif data[2] in {_PLAIN_DICTIONARY, _RLE_DICTIONARY}:
            yield from (dictionary[index] for index in _hybrid(page[start + 1 :], page[start], count))
        else:
            raise DataLossError(f"GloVe index: encoding {_integer(data[2])} is not read")
        remaining -= count


def _skip_levels(page: bytes, count: int) -> int:
    """Return where the values start, having checked that none of the count values is null."""
    size = struct.unpack_from("<I", page)[0]
    if any(level != 1 for level in _hybrid(page[4 : 4 + size], 1, count)):
        raise DataLossError("GloVe index: a word is null")
    return 4 + int(size)


def _plain(page: bytes, start: int, count: int) -> Iterator[bytes]:
    for _ in range(count):
        size = struct.unpack_from("<I", page, start)[0]
        start += 4
        yield page[start : start + size]
        start += size


def _hybrid(data: bytes, bit_width: int, count: int) -> Iterator[int]:
    """Yield count integers of the RLE/bit-packed hybrid encoding."""
    reader = _Thrift(data, 0)
    value_bytes = (bit_width + 7) // 8
    while count > 0:
        header = reader.read_varint()
        if header & 1:
            groups = header >> 1
            packed = int.from_bytes(reader.read_bytes(groups * bit_width), "little")
            mask = (1 << bit_width) - 1
            run = min(count, groups * 8)
            # Shifting one large integer is quadratic; runs of bit-packed groups are short in practice.
            for _ in range(run):
                yield packed & mask
                packed >>= bit_width
        else:
            run = min(count, header >> 1)
            value = int.from_bytes(reader.read_bytes(value_bytes), "little")
            for _ in range(run):
                yield value
        count -= run


def _unsnap(data: bytes, expected_bytes: int) -> bytes:
    """Decompress one Snappy block."""
    reader = _Thrift(data, 0)
    size = reader.read_varint()
    out = bytearray()
    while reader.position < len(data):
        tag = reader.read_byte()
        kind = tag & 3
        if kind == 0:
            length = tag >> 2
            if length >= 60:
                length = int.from_bytes(reader.read_bytes(length - 59), "little")
            out += reader.read_bytes(length + 1)
            continue
        if kind == 1:
            length, offset = 4 + (tag >> 2 & 7), (tag >> 5) << 8 | reader.read_byte()
        else:
            length, offset = 1 + (tag >> 2), int.from_bytes(reader.read_bytes(2 if kind == 2 else 4), "little")
        start = len(out) - offset
        if offset == 0 or start < 0:
            raise DataLossError("GloVe index: a Snappy block copies from before its start")
        if offset >= length:
            out += out[start : start + length]
        else:
            pattern = bytes(out[start:])
            out += (pattern * (length // offset + 1))[:length]
    if len(out) != size or size != expected_bytes:
        raise DataLossError("GloVe index: a Snappy block has the wrong size")
    return bytes(out)


class _Thrift:
    """A cursor over thrift compact protocol, which Parquet headers are written in."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def read_byte(self) -> int:
        self.position += 1
        return self._data[self.position - 1]

    def read_bytes(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        return self._data[start : self.position]

    def read_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.read_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def read_zigzag(self) -> int:
        value = self.read_varint()
        return (value >> 1) ^ -(value & 1)

    def read_struct(self) -> tuple[_Struct, int]:
        """Return a struct as field id -> value, and the position after it."""
        fields: _Struct = {}
        field = 0
        while head := self.read_byte():
            field = field + (head >> 4) if head >> 4 else self.read_zigzag()
            fields[field] = self._value(head & 15)
        return fields, self.position

    def _value(self, kind: int) -> ThriftValue:
        if kind in {1, 2}:
            return kind == 1
        if kind == 3:
            return self.read_byte()
        if kind in {4, 5, 6}:
            return self.read_zigzag()
        if kind == 7:
            return float(struct.unpack("<d", self.read_bytes(8))[0])
        if kind == 8:
            return self.read_bytes(self.read_varint())
        if kind == 9:
            head = self.read_byte()
            size = head >> 4 if head >> 4 != 15 else self.read_varint()
            return [self._value(head & 15) for _ in range(size)]
        if kind == 12:
            return self.read_struct()[0]
        raise DataLossError(f"GloVe index: thrift type {kind} is not read")


def _struct(value: ThriftValue) -> _Struct:
    if not isinstance(value, dict):
        raise DataLossError("GloVe index: a struct was expected")
    return value


def _structs(value: ThriftValue) -> list[_Struct]:
    if not isinstance(value, list):
        raise DataLossError("GloVe index: a list was expected")
    return [_struct(item) for item in value]


def _integer(value: ThriftValue) -> int:
    if not isinstance(value, int):
        raise DataLossError("GloVe index: an integer was expected")
    return value
