# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0

import json

import numpy as np
import pytest
from safetensors.numpy import load

from dragoman_common.errors import InvalidArgumentError
from dragoman_models.tensors import MAX_HEADER_BYTES, TensorSpec, read_tensors, write_tensors

SPECS = {"a": TensorSpec("F32", (2, 3)), "k": TensorSpec("I64", (4,))}


def _file(header, buffer=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + buffer


def _entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _good():
    return {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "k": np.array([1, 2, 3, 2**60])}


def test_tensors_survive_writing_and_reading():
    arrays = read_tensors(write_tensors(_good()), SPECS)
    for name, expected in _good().items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == expected.dtype
        assert arrays[name].flags.writeable


def test_the_safetensors_library_reads_what_we_write():
    for name, array in load(write_tensors(_good())).items():
        np.testing.assert_array_equal(array, _good()[name])


def test_equal_tensors_give_equal_bytes_in_any_order():
    good = _good()
    assert write_tensors(good) == write_tensors(dict(reversed(good.items())))


def test_metadata_of_strings_is_accepted():
    data = _file({"__metadata__": {"made": "by us"}, "a": _entry([1], 0, 4)}, b"\0" * 4)
    assert read_tensors(data, {"a": TensorSpec("F32", (1,))})["a"].tolist() == [0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    good = _good()
    good["a"][1, 2] = value
    with pytest.raises(InvalidArgumentError, match="a has NaN or infinite values"):
        read_tensors(write_tensors(good), SPECS)


@pytest.mark.parametrize(
    ("header", "buffer", "message"),
    [
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
         b"\0" * 4, "repeats a key"),
        ({"../a": _entry([1], 0, 4)}, b"\0" * 4, "name '../a' is not allowed"),
        ({"a..b": _entry([1], 0, 4)}, b"\0" * 4, "is not allowed"),
        ({"/etc/passwd": _entry([1], 0, 4)}, b"\0" * 4, "is not allowed"),
        ({"a\0": _entry([1], 0, 4)}, b"\0" * 4, "is not allowed"),
        ({"": _entry([1], 0, 4)}, b"\0" * 4, "is not allowed"),
        ({"x" * 200: _entry([1], 0, 4)}, b"\0" * 4, "is not allowed"),
        ({"a": _entry([0, 2**40], 0, 0)}, b"", "shape: must be integers from 1"),
        ({"a": _entry([2**31, 2**33], 0, 4)}, b"\0" * 4, "shape: must be integers from 1"),
        ({"a": _entry([2**32, 2**32], 0, 4)}, b"\0" * 4, "needs 73786976294838206464 bytes"),
        ({"a": _entry([-1], 0, 4)}, b"\0" * 4, "shape: must be integers"),
        ({"a": _entry([1.0], 0, 4)}, b"\0" * 4, "shape: must be integers"),
        ({"a": _entry([True], 0, 4)}, b"\0" * 4, "shape: must be integers"),
        ({"a": _entry([], 0, 4)}, b"\0" * 4, "must have a shape"),
        ({"a": _entry([1, 1, 1, 1, 1], 0, 4)}, b"\0" * 4, "at most 4 items"),
        ({"a": _entry([1], 0, 4, "F16")}, b"\0" * 4, "dtype is 'F16'; allowed: F32, I64"),
        ({"a": _entry([1], 0, 4, "BOOL")}, b"\0" * 4, "dtype is 'BOOL'"),
        ({"a": _entry([1], 0, 8)}, b"\0" * 8, "its offsets span 8"),
        ({"a": _entry([1], 4, 0)}, b"\0" * 4, "its offsets span -4"),
        ({"a": _entry([1], 4, 8)}, b"\0" * 8, "overlap or leave a gap"),
        ({"a": _entry([2], 0, 8), "b": _entry([1], 4, 8)}, b"\0" * 8, "overlap or leave a gap"),
        ({"a": _entry([1], 0, 4), "b": _entry([1], 8, 12)}, b"\0" * 12, "overlap or leave a gap"),
        ({"a": _entry([1], 0, 4)}, b"\0" * 5, "cover 4 bytes of a buffer of 5"),
        ({"a": _entry([2], 0, 8)}, b"\0" * 4, "cover 8 bytes of a buffer of 4"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4, "'data_offsets' is missing"),
        ({"a": _entry([1], 0, 4) | {"code": "x"}}, b"\0" * 4, "unknown key 'code'"),
        ({"a": [1]}, b"\0" * 4, "must be an object"),
        ({"__metadata__": {"a": 1}}, b"", "__metadata__ must map"),
        (b"[]", b"", "must hold a JSON object"),
        (b"{", b"", "not strict JSON"),
    ],
)  # fmt: skip
def test_malformed_headers_are_refused_by_name(header, buffer, message):
    with pytest.raises(InvalidArgumentError) as caught:
        read_tensors(_file(header, buffer), {"a": TensorSpec("F32", (1,))})
    assert message in caught.value.message


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, (2**63).to_bytes(8, "little") + b"{}", (101 << 20).to_bytes(8, "little") + b"{}" * 100],
)
def test_lengths_are_checked_before_they_are_used(data):
    with pytest.raises(InvalidArgumentError, match=r"weights\.safetensors"):
        read_tensors(data, SPECS)


def test_a_giant_header_is_refused_without_parsing():
    header = b" " * (MAX_HEADER_BYTES + 1)
    with pytest.raises(InvalidArgumentError, match="the limit is 1048576"):
        read_tensors(_file(header), SPECS)


def test_a_missing_an_extra_and_a_reshaped_tensor_are_named():
    good = _good()
    with pytest.raises(InvalidArgumentError, match="tensor k is missing"):
        read_tensors(write_tensors({"a": good["a"]}), SPECS)
    with pytest.raises(InvalidArgumentError, match="unexpected tensor z"):
        read_tensors(write_tensors(good | {"z": good["a"]}), SPECS)
    with pytest.raises(InvalidArgumentError, match=r"a is F32 \[3, 2\], the architecture needs F32 \[2, 3\]"):
        read_tensors(write_tensors(good | {"a": good["a"].reshape(3, 2)}), SPECS)


def test_every_cut_of_a_file_is_refused():
    data = write_tensors(_good())
    for length in range(len(data)):
        with pytest.raises(InvalidArgumentError):
            read_tensors(data[:length], SPECS)


def test_random_header_damage_never_escapes_as_another_error():
    data = bytearray(write_tensors(_good()))
    header_end = 8 + int.from_bytes(data[:8], "little")
    generator = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(data)
        for position in generator.integers(0, header_end, 3):
            damaged[position] = generator.integers(0, 256)
        try:
            read_tensors(bytes(damaged), SPECS)
        except InvalidArgumentError:
            continue
