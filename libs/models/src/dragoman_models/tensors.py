# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors form, read as untrusted input and written deterministically.

Owns the checks between a weights file and arrays. The format itself says nothing about duplicate names, path-like
names, NaN, empty or giant shapes; here the caller states the exact tensors that it expects, and everything else is
refused before memory for it is taken.

    bytes -> header (size, JSON, names, dtypes, shapes, offsets) == expected specs -> copied arrays -> all finite

Source: the safetensors format description (8-byte little-endian header length, JSON header, one dense buffer);
deviation: fewer dtypes, no empty tensors, no zero-dimensional gaps, names restricted.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields, JsonValue
from dragoman_models.package import WEIGHTS_FILE
from dragoman_text.strict_json import parse_object

MAX_HEADER_BYTES = 1 << 20
MAX_START_BYTES = MAX_HEADER_BYTES + 8
"""However long the header is, it lies within the file's first bytes of this number."""
MAX_WEIGHTS_BYTES = 4 << 30
MAX_DIMENSIONS = 4

DTYPES = ("F32", "I64")
"""What a package's weights may be."""

FOREIGN_DTYPES = (*DTYPES, "F16", "BF16")
"""What weights that are to become a package's may be; numpy has no bfloat16, whose bits are read as integers."""

_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,127}", re.ASCII)
_LENGTH_BYTES = 8

Tensor: TypeAlias = NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What one tensor must look like: dtype, one of FOREIGN_DTYPES, and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of the tensor; a Python integer, so a giant shape cannot wrap around."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


def read_tensors(data: bytes | memoryview, expected: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
    """Return the file's tensors as own, writable, native-endian arrays.

    Args:
        data: The whole weights file.
        expected: Every tensor that the architecture needs; the file must hold exactly these.

    Raises:
        InvalidArgumentError: the file is malformed, holds other tensors than expected, or a value is NaN or infinite.
    """
    header, start = read_header(data, size_bytes=len(data))
    _compare({name: spec for name, (spec, _) in header.items()}, expected)
    arrays: dict[str, Tensor] = {}
    for name, (spec, offset) in header.items():
        dtype = _DTYPES[spec.dtype]
        view = np.frombuffer(data, dtype=dtype, count=math.prod(spec.shape), offset=start + offset)
        array = view.astype(dtype.newbyteorder("="), copy=True).reshape(spec.shape)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidArgumentError(f"{WEIGHTS_FILE}: {name} has NaN or infinite values")
        arrays[name] = array
    return arrays


def check_layout(start: bytes, expected: Mapping[str, TensorSpec], *, size_bytes: int) -> None:
    """Check by its first MAX_START_BYTES that a weights file holds exactly the expected tensors; values are not read.

    Raises:
        InvalidArgumentError: the header is malformed, or describes other tensors or another size.
    """
    header, _ = read_header(start, size_bytes=size_bytes)
    _compare({name: spec for name, (spec, _) in header.items()}, expected)


def read_header(
    data: bytes | memoryview, *, size_bytes: int, dtypes: Collection[str] = DTYPES
) -> tuple[dict[str, tuple[TensorSpec, int]], int]:
    """Return each tensor's spec and offset, and where the buffer starts.

    Args:
        data: The file, or its first MAX_START_BYTES.
        size_bytes: The size of the whole file.
        dtypes: Those that are allowed, of FOREIGN_DTYPES.

    Raises:
        InvalidArgumentError: any deviation from the format as restricted above; tensors must tile the buffer exactly.
    """
    if not _LENGTH_BYTES < size_bytes <= MAX_WEIGHTS_BYTES:
        raise InvalidArgumentError(
            f"{WEIGHTS_FILE}: {size_bytes} bytes, must be over {_LENGTH_BYTES} and at most {MAX_WEIGHTS_BYTES}"
        )
    header_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if header_bytes > MAX_HEADER_BYTES or _LENGTH_BYTES + header_bytes > size_bytes:
        raise InvalidArgumentError(
            f"{WEIGHTS_FILE}: header of {header_bytes} bytes, the limit is {MAX_HEADER_BYTES} and the file"
        )
    start = _LENGTH_BYTES + header_bytes
    entries = parse_object(bytes(data[_LENGTH_BYTES:start]), what=WEIGHTS_FILE, max_bytes=MAX_HEADER_BYTES)
    header: dict[str, tuple[TensorSpec, int]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        if name == "__metadata__":
            _check_metadata(entry)
            continue
        spec, begin, end = _entry(name, entry, dtypes)
        header[name] = (spec, begin)
        spans.append((begin, end))
    _check_tiling(spans, size_bytes - start)
    return header, start


def write_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise tensors; equal arrays give equal bytes, whatever the order of the mapping."""
    return save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def _entry(name: str, entry: JsonValue, dtypes: Collection[str]) -> tuple[TensorSpec, int, int]:
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidArgumentError(f"{WEIGHTS_FILE}: tensor name {name[:64]!r} is not allowed")
    what = f"{WEIGHTS_FILE}: {name}"
    fields = Fields(entry, what=what, required=("dtype", "shape", "data_offsets"))
    dtype = fields.text("dtype", choices=dtypes)
    shape = _integers(fields.items("shape", max_items=MAX_DIMENSIONS), what=f"{what}: shape", low=1)
    offsets = _integers(fields.items("data_offsets", max_items=2), what=f"{what}: data_offsets", low=0)
    if not shape or len(offsets) != 2:
        raise InvalidArgumentError(f"{what}: must have a shape and two data_offsets")
    spec = TensorSpec(dtype, shape)
    begin, end = offsets
    if end - begin != spec.num_bytes:
        raise InvalidArgumentError(
            f"{what}: shape {list(shape)} needs {spec.num_bytes} bytes, its offsets span {end - begin}"
        )
    return spec, begin, end


def _integers(values: list[JsonValue], *, what: str, low: int) -> tuple[int, ...]:
    checked: list[int] = []
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= MAX_WEIGHTS_BYTES:
            raise InvalidArgumentError(f"{what}: must be integers from {low} to {MAX_WEIGHTS_BYTES}")
        checked.append(value)
    return tuple(checked)


def _check_metadata(entry: JsonValue) -> None:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise InvalidArgumentError(f"{WEIGHTS_FILE}: __metadata__ must map names to strings")


def _check_tiling(spans: list[tuple[int, int]], buffer_bytes: int) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise InvalidArgumentError(f"{WEIGHTS_FILE}: tensors overlap or leave a gap at byte {position}")
        position = end
    if position != buffer_bytes:
        raise InvalidArgumentError(f"{WEIGHTS_FILE}: tensors cover {position} bytes of a buffer of {buffer_bytes}")


def _compare(found: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> None:
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise InvalidArgumentError(f"{WEIGHTS_FILE}: unexpected tensor {unknown[0]}")
    missing = sorted(set(expected) - set(found))
    if missing:
        raise InvalidArgumentError(f"{WEIGHTS_FILE}: tensor {missing[0]} is missing")
    for name, spec in expected.items():
        if found[name] != spec:
            raise InvalidArgumentError(
                f"{WEIGHTS_FILE}: {name} is {found[name].dtype} {list(found[name].shape)}, "
                f"the architecture needs {spec.dtype} {list(spec.shape)}"
            )
