# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a text classifier looks like in the Open Inference Protocol, whichever way it arrives: gRPC or REST.

    text BYTES [N] -> label BYTES [N], scores FP32 [N, C]

Owns names, datatypes and the rules for parameters; oip_codec.py and rest_codec.py own the two encodings.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dragoman_common.errors import InvalidArgumentError
from dragoman_gateway.limits import Limits
from dragoman_gateway.selector import Selector

TEXT, LABEL, SCORES = "text", "label", "scores"
REQUEST_ID_PARAMETER = "dragoman_request_id"
DIGEST_PARAMETER = "dragoman_digest"
TRUNCATED_PARAMETER = "dragoman_num_truncated"
# Names that clients of the protocol set for servers that batch sequences or set priorities; here they change nothing.
_TOLERATED = frozenset({"priority", "timeout", "headers", "binary_data_output"})
_TOLERATED_PREFIXES = ("triton_", "sequence_")


@dataclass(frozen=True, kw_only=True, slots=True)
class InferCall:
    """A parsed request. `outputs` in the order to answer; `is_raw` tells the encoding to answer in."""

    selector: Selector
    texts: list[str]
    outputs: tuple[str, ...]
    client_id: str
    is_raw: bool = False


def check_parameters(
    names: Iterable[str], *, where: str, limits: Limits, allowed: frozenset[str] = frozenset()
) -> None:
    """Refuse parameters that would be ignored in silence.

    Raises:
        InvalidArgumentError: names the first unknown one.
    """
    names = sorted(names)
    if len(names) > limits.max_parameters:
        raise InvalidArgumentError(f"{where}: {len(names)} parameters, at most {limits.max_parameters}; send fewer")
    for name in names:
        if name not in _TOLERATED | allowed and not name.startswith(_TOLERATED_PREFIXES):
            raise InvalidArgumentError(f"{where}: no parameter {name[:64]!r} is known here; leave it out")


def check_outputs(names: Sequence[str], limits: Limits) -> tuple[str, ...]:
    """The outputs to answer: those requested, in their order, or all.

    Raises:
        InvalidArgumentError: one does not exist, or is asked twice.
    """
    if len(names) > limits.max_tensors:
        raise InvalidArgumentError(f"outputs: {len(names)} tensors, at most {limits.max_tensors}; ask for fewer")
    for name in names:
        if name not in (LABEL, SCORES):
            raise InvalidArgumentError(f"outputs: no tensor {name[:64]!r}; a text classifier answers label and scores")
    if len(set(names)) != len(names):
        raise InvalidArgumentError("outputs: a tensor is asked for twice")
    return tuple(names) or (LABEL, SCORES)


def check_inputs(names: Sequence[str]) -> None:
    """Exactly one input, `text`.

    Raises:
        InvalidArgumentError: it is missing, or another is there.
    """
    if list(names) != [TEXT]:
        other = next((name for name in names if name != TEXT), None)
        found = f"found {other[:64]!r}" if other is not None else f"found {len(names)} of them"
        raise InvalidArgumentError(f"inputs: a text classifier takes exactly one tensor, text; {found}")


def check_text_tensor(datatype: str, shape: Sequence[int], limits: Limits) -> int:
    """The number of rows, believed only after it is checked; the product is of Python integers and cannot overflow.

    Raises:
        InvalidArgumentError: another datatype or shape, or too many rows.
    """
    if datatype != "BYTES":
        raise InvalidArgumentError(f"{TEXT}: datatype is {datatype[:16]!r}; it must be BYTES")
    if len(shape) != 1 or shape[0] < 0:
        shown = list(shape[:8])
        raise InvalidArgumentError(f"{TEXT}: shape is {shown}; it must be [N], N being the number of texts")
    num_rows = math.prod(int(size) for size in shape)
    limits.check_num_rows(num_rows, field=TEXT)
    return num_rows


def decode_texts(elements: Sequence[bytes], limits: Limits) -> list[str]:
    """Bytes of UTF-8 to text, each checked against the platform's limit before it is decoded.

    Raises:
        InvalidArgumentError: names the row.
    """
    texts = []
    for row, element in enumerate(elements):
        limits.check_text_size(len(element), field=TEXT, row=row, max_bytes=limits.max_text_bytes)
        try:
            texts.append(element.decode())
        except UnicodeDecodeError:
            raise InvalidArgumentError(f"{TEXT}[{row}] is not valid UTF-8; encode the text as UTF-8") from None
    return texts
