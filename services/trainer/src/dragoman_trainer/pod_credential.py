# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The job's token of a run that is a pod: asked of the launcher, for the token by which the cluster names the pod.

pod's token (file, renewed by the kubelet) -> ExchangePodToken -> the job's token, kept in memory alone
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

from dragoman.launcher.v1 import launcher_pb2 as pb
from dragoman.launcher.v1 import launcher_pb2_grpc
from dragoman_common.errors import OverloadedError, UnavailableError
from dragoman_trainer.call import JobToken, Metadata, call_once

EXCHANGE_TIMEOUT_S: Final = 10.0
PATIENCE_S: Final = 900.0
"""A pod may start while the launcher is being replaced; a run that ends for that would have failed for good."""
FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 15.0

logger = logging.getLogger(__name__)


class PodCredential:
    """Exchanges once: a job's token outlives the longest job."""

    def __init__(
        self,
        channel: grpc.Channel,
        pod_token_file: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask over a channel to the launcher that the caller closes; nothing is asked yet."""
        self._stub = launcher_pb2_grpc.LauncherServiceStub(channel)
        self._pod_token = JobToken(pod_token_file)
        self._sleep = sleep
        self._token = ""

    def metadata(self) -> Metadata:
        """See Credential.

        Raises:
            UnavailableError: the launcher did not answer for 15 minutes.
            DragomanError: it gives this pod no token, and why.
        """
        if not self._token:
            self._token = self._exchange()
        return (("authorization", f"Bearer {self._token}"),)

    def _exchange(self) -> str:
        delay_s, waited_s = FIRST_DELAY_S, 0.0
        while True:
            try:
                return call_once(
                    lambda: self._stub.ExchangePodToken(
                        pb.ExchangePodTokenRequest(), timeout=EXCHANGE_TIMEOUT_S, metadata=self._pod_token.metadata()
                    )
                ).token
            except (UnavailableError, OverloadedError) as error:
                if waited_s >= PATIENCE_S:
                    raise
                logger.warning("no token yet, asking again", extra={"reason": error.message, "delay_s": delay_s})
                self._sleep(delay_s)
                waited_s += delay_s
                delay_s = min(2 * delay_s, MAX_DELAY_S)
