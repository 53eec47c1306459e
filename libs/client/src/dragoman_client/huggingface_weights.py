# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The tensors of a Hugging Face folder, in one safetensors file or in shards with an index.

Owns the way from those files to float32 arrays by name. The format's checks are dragoman_models.tensors; the files are
mapped, so that a large model is not in memory twice.

    [index ->] files -> checked headers -> names as they are written today -> exactly the expected ones -> float32
"""

import mmap
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from dragoman_client.huggingface_folder import SINGLE_WEIGHTS, WEIGHTS_INDEX, HuggingFaceFolder
from dragoman_common.errors import InvalidArgumentError
from dragoman_models.fields import Fields
from dragoman_models.package import WEIGHTS_FILE
from dragoman_models.tensors import FOREIGN_DTYPES, TensorSpec, read_header
from dragoman_models.transformer_import import modern_name
from dragoman_text.strict_json import parse_object

_SHARD = re.compile(r"model-[0-9]{5}-of-[0-9]{5}\.safetensors", re.ASCII)
_MAX_INDEX_BYTES = 4 << 20
_FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    content: mmap.mmap
    spec: TensorSpec
    offset: int


class FolderWeights:
    """Tensors by name, read when asked for."""

    def __init__(self, folder: HuggingFaceFolder, is_unused: Callable[[str], bool]) -> None:
        """Read the headers of all weights files.

        Args:
            folder: The folder.
            is_unused: Tells of a tensor's name whether it is to be passed over.

        Raises:
            InvalidArgumentError: the index or a file is malformed, or they contradict each other.
        """
        self._places: dict[str, _Place] = {}
        self._is_unused = is_unused
        if SINGLE_WEIGHTS in folder.names:
            self.files: tuple[str, ...] = (SINGLE_WEIGHTS,)
            self._add(folder, SINGLE_WEIGHTS)
            return
        index = _index(folder)
        self.files = (WEIGHTS_INDEX, *sorted(set(index.values())))
        for name in self.files[1:]:
            if name not in folder.names:
                raise InvalidArgumentError(f"{WEIGHTS_INDEX}: {name} is missing")
            self._add(folder, name)
        found = {name: place.file for name, place in self._places.items()}
        indexed = {modern_name(name): file for name, file in index.items() if not is_unused(modern_name(name))}
        if contradicted := sorted(name for name, _ in found.items() ^ indexed.items()):
            raise InvalidArgumentError(f"{WEIGHTS_INDEX}: {contradicted[0]} is not in the file that the index names")

    def check(self, expected: Mapping[str, TensorSpec]) -> None:
        """Check that there are exactly the expected tensors, as floats of any of the widths that can be read.

        Raises:
            InvalidArgumentError: a tensor is missing, too many, or of another shape or kind.
        """
        for name in sorted(self._places.keys() - expected.keys()):
            raise InvalidArgumentError(f"{self._places[name].file}: {name} belongs to no such model")
        for name, spec in expected.items():
            place = self._places.get(name)
            if place is None:
                raise InvalidArgumentError(f"{self.files[0]}: the tensor {name} is missing")
            if place.spec.shape != spec.shape or place.spec.dtype not in _FLOATS:
                raise InvalidArgumentError(
                    f"{place.file}: {name} is {place.spec.dtype} {list(place.spec.shape)}; by config.json it must be "
                    f"a float {list(spec.shape)}"
                )

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a tensor in float32, to which every narrower float converts without loss."""
        place = self._places[name]
        count = prod(place.spec.shape)
        if place.spec.dtype == "BF16":
            # The upper half of a float32.
            bits = np.frombuffer(place.content, dtype="<u2", count=count, offset=place.offset).astype(np.uint32)
            values = (bits << 16).view(np.float32)
        else:
            dtype = "<f2" if place.spec.dtype == "F16" else "<f4"
            raw = np.frombuffer(place.content, dtype=dtype, count=count, offset=place.offset)
            values = raw.astype(np.float32, copy=False)
        return values.reshape(place.spec.shape)

    def _add(self, folder: HuggingFaceFolder, file: str) -> None:
        try:
            with (folder.root / file).open("rb") as opened:
                content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            header, start = read_header(memoryview(content), size_bytes=len(content), dtypes=FOREIGN_DTYPES)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{file}: {error.message.removeprefix(f'{WEIGHTS_FILE}: ')}") from None
        except ValueError:
            # An empty file cannot be mapped.
            raise InvalidArgumentError(f"{file}: is empty") from None
        for written, (spec, offset) in header.items():
            name = modern_name(written)
            if self._is_unused(name):
                continue
            if name in self._places:
                raise InvalidArgumentError(f"{file}: the tensor {name} is there twice")
            self._places[name] = _Place(file, content, spec, start + offset)


def _index(folder: HuggingFaceFolder) -> dict[str, str]:
    data = folder.read(WEIGHTS_INDEX, max_bytes=_MAX_INDEX_BYTES)
    fields = Fields(
        parse_object(data, what=WEIGHTS_INDEX, max_bytes=_MAX_INDEX_BYTES),
        what=WEIGHTS_INDEX,
        required=("weight_map",),
        optional=("metadata",),
    )
    files = fields.raw("weight_map")
    if not isinstance(files, dict) or not files:
        raise InvalidArgumentError(f"{WEIGHTS_INDEX}: weight_map must name the file of each tensor")
    index: dict[str, str] = {}
    for name, file in files.items():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise InvalidArgumentError(f"{WEIGHTS_INDEX}: {str(file)[:64]!r} is no name of a shard")
        index[name] = file
    return index
