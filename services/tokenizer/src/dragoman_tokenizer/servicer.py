# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The gRPC face: message -> version -> tokenizer -> executor -> message. Owns the policy of its methods, no rules."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from dragoman.tokenizer.v1 import tokenizer_pb2 as pb
from dragoman.tokenizer.v1 import tokenizer_pb2_grpc as pb_grpc
from dragoman_common import deadline
from dragoman_common.auth import current_caller
from dragoman_common.telemetry import meter
from dragoman_tokenizer import convert
from dragoman_tokenizer.encoding import CallLimits, decode_rows, encode_rows
from dragoman_tokenizer.version import ServedTokenizer
from dragoman_tokenizer.version_tokenizers import VersionTokenizers

_SERVICE = pb.DESCRIPTOR.services_by_name["TokenizerService"]
_CALLERS = frozenset({"gateway", "operator"})
POLICY = {f"/{_SERVICE.full_name}/{method.name}": _CALLERS for method in _SERVICE.methods}
"""Who may call what: the gateway, and an operator's own commands."""

T = TypeVar("T")


class TokenizerServicer(pb_grpc.TokenizerServiceServicer):
    """Answers for the tenant of the caller; raises DragomanErrors."""

    def __init__(self, tokenizers: VersionTokenizers, executor: Executor, limits: CallLimits) -> None:
        self._tokenizers = tokenizers
        self._executor = executor
        self._limits = limits
        numbers = meter("dragoman_tokenizer")
        self._rows = numbers.create_counter("dragoman.tokenizer.rows", unit="1", description="Texts encoded")
        self._tokens = numbers.create_counter("dragoman.tokenizer.tokens", unit="1", description="Token ids answered")
        self._unknown = numbers.create_counter(
            "dragoman.tokenizer.unknown_tokens", unit="1", description="Ids of words outside the vocabulary"
        )

    async def Encode(self, request: pb.EncodeRequest, context: Any) -> pb.EncodeResponse:  # noqa: ARG002, N802 -- gRPC's
        """Token ids for rows of text."""
        served = await self._served(request.version)
        rows = await self._run("encoding", lambda: encode_rows(served, list(request.texts), self._limits))
        self._rows.add(len(rows.lengths))
        self._tokens.add(len(rows.token_ids))
        self._unknown.add(sum(rows.num_unknown))
        return convert.encoded_to_pb(rows)

    async def Decode(self, request: pb.DecodeRequest, context: Any) -> pb.DecodeResponse:  # noqa: ARG002, N802 -- gRPC's
        """Text for rows of token ids."""
        served = await self._served(request.version)
        token_ids, lengths = convert.ids_from_pb(request.token_ids), convert.ids_from_pb(request.lengths)
        texts = await self._run("decoding", lambda: decode_rows(served, token_ids, lengths, self._limits))
        return pb.DecodeResponse(texts=texts)

    async def GetTokenizer(  # noqa: N802 -- gRPC's
        self,
        request: pb.GetTokenizerRequest,
        context: Any,  # noqa: ARG002 -- gRPC's
    ) -> pb.GetTokenizerResponse:
        """What a version's tokenizer is."""
        return convert.tokenizer_to_pb(await self._served(request.version))

    async def _served(self, version: pb.VersionName) -> ServedTokenizer:
        name = convert.version_name_from_pb(current_caller().tenant, version)
        return await self._tokenizers.get(name)

    async def _run(self, stage: str, work: Callable[[], T]) -> T:
        # Off the loop: a megabyte of text takes longer than a health probe may wait. A call that is cancelled while it
        # waits for a thread never starts.
        deadline.check(stage)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
