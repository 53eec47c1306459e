# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Between the wire's messages and the domain's nouns; pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dragoman.tokenizer.v1 import tokenizer_pb2 as pb
from dragoman_tokenizer.encoding import EncodedRows
from dragoman_tokenizer.version import ServedTokenizer, VersionName


def version_name_from_pb(tenant: str, message: pb.VersionName) -> VersionName:
    """The version that a call of this tenant names.

    Raises:
        InvalidArgumentError: a field cannot name a version.
    """
    return VersionName(tenant, message.model, message.number, message.root_sha256)


def ids_from_pb(field: Sequence[int]) -> NDArray[np.int32]:
    """A repeated int32 field as one array; np.array reads it at once, a loop costs 200 times that."""
    return np.array(field, dtype=np.int32)


def encoded_to_pb(rows: EncodedRows) -> pb.EncodeResponse:
    """The answer to Encode."""
    return pb.EncodeResponse(
        token_ids=rows.token_ids.tolist(),
        lengths=rows.lengths.tolist(),
        truncated=rows.truncated,
        num_unknown=rows.num_unknown,
    )


def tokenizer_to_pb(served: ServedTokenizer) -> pb.GetTokenizerResponse:
    """The answer to GetTokenizer."""
    return pb.GetTokenizerResponse(
        backend=served.spec.backend,
        vocabulary_size=served.tokenizer.vocabulary_size,
        max_tokens=served.spec.max_tokens,
        max_text_bytes=served.spec.max_text_bytes,
        sha256=served.spec.file.sha256,
    )
