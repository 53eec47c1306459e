# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who calls, where jobs are pods: a projected service account token says which pod; all others go the usual way.

    token -> not the cluster's kind? the services' check
          -> signature by one of the cluster's keys, issuer, audience, times -> namespace, service account -> PodName

The cluster's public keys are read through the API server (ClusterApi.token_keys) at the start, every few minutes, and
when a token names a key that is not known, but not more often than every 10 s. No right is needed for that, and none to
review tokens: that the pod is still there is looked up when the token is exchanged (pod_exchange.py).
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

import jwt

from dragoman_common.auth import Authenticator, Caller, bearer_token
from dragoman_common.clock import Clock
from dragoman_common.errors import UnauthenticatedError, UnavailableError
from dragoman_launcher.cluster_api import RefusedError
from dragoman_launcher.job_objects import POD_AUDIENCE, Manifest
from dragoman_launcher.jobs_url import ClusterSettings
from dragoman_launcher.pod_exchange import POD, PodName

REFRESH_S: Final = 300.0
MIN_REFRESH_S: Final = 10.0
MAX_KEYS: Final = 64

_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""What API servers sign with; our own tokens are EdDSA."""
_LEEWAY_S: Final = 30

logger = logging.getLogger(__name__)


class TokenKeys(Protocol):
    """The part of ClusterApi that is needed here."""

    async def token_keys(self) -> tuple[str, Manifest]:
        """See ClusterApi."""
        ...


class PodTokenAuthenticator:
    """Tells pods from services.

    Args:
        api: the cluster.
        cluster: whose namespace and service account the pods have.
        others: checks every token that is not the cluster's.
        clock: for the age of the keys.
    """

    def __init__(self, *, api: TokenKeys, cluster: ClusterSettings, others: Authenticator, clock: Clock) -> None:
        self._api = api
        self._cluster = cluster
        self._others = others
        self._clock = clock
        self._issuer = ""
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_s = float("-inf")
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Keep the cluster's keys fresh, until cancelled."""
        while True:
            try:
                await self.refresh()
                delay_s = REFRESH_S
            except (UnavailableError, RefusedError) as error:
                logger.warning("the cluster's token keys cannot be read", extra={"reason": str(error)})
                delay_s = MIN_REFRESH_S
            self._wanted.clear()
            try:
                async with asyncio.timeout(delay_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Read the keys once.

        Raises:
            UnavailableError: the API server does not answer, or does not let us.
            RefusedError: it has no such keys.
        """
        issuer, document = await self._api.token_keys()
        keys: dict[str, jwt.PyJWK] = {}
        for entry in (document.get("keys") or [])[:MAX_KEYS]:
            try:
                keys[str(entry["kid"])] = jwt.PyJWK.from_dict(entry)
            except (jwt.PyJWTError, KeyError, TypeError, AttributeError) as error:
                logger.warning("a token key of the cluster is passed over", extra={"reason": str(error)})
        self._issuer, self._keys, self._read_s = issuer, keys, self._clock.monotonic_s()

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        token = bearer_token(metadata)
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            return self._others.authenticate(metadata)
        if header.get("alg") not in _ALGORITHMS:
            return self._others.authenticate(metadata)
        return Caller(identity=POD, tenant="", subject=str(self._pod(token, header)))

    def _pod(self, token: str, header: Mapping[str, Any]) -> PodName:
        key = self._key(str(header.get("kid")))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=POD_AUDIENCE,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
        except jwt.InvalidTokenError as error:
            raise UnauthenticatedError(f"the pod's token does not hold: {error}") from None
        match claims.get("kubernetes.io"):
            case {
                "namespace": self._cluster.namespace,
                "serviceaccount": {"name": self._cluster.service_account},
                "pod": {"name": str(name), "uid": str(uid)},
            } if name and uid:
                return PodName(name, uid)
        raise UnauthenticatedError(
            f"the token is none of a pod of service account {self._cluster.service_account} in namespace "
            f"{self._cluster.namespace}"
        )

    def _key(self, key_id: str) -> jwt.PyJWK:
        key = self._keys.get(key_id)
        if key is not None:
            return key
        if self._clock.monotonic_s() - self._read_s >= MIN_REFRESH_S:
            self._wanted.set()
            raise UnavailableError("the cluster's token keys are being read; send the call again")
        raise UnauthenticatedError("the token's key is none of the cluster's")
