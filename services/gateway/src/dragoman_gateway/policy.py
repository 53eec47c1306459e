# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who may ask which model. Pure: the claims are already verified when they arrive here."""

from dataclasses import dataclass

from dragoman_common.errors import PermissionDeniedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """An authenticated end user.

    `models` holds the names that the token allows; None allows every model of the tenant. No principal ever sees
    another tenant: every lookup is keyed by `tenant`.
    """

    tenant: str
    subject: str
    models: frozenset[str] | None = None

    def can_ask(self, model: str) -> bool:
        return self.models is None or model in self.models


def authorise(principal: Principal, model: str) -> None:
    """Let the call pass, or say what is missing.

    The answer is the same whether the model exists or not, so that a token learns nothing about models it may not ask.

    Raises:
        PermissionDeniedError: the token's models do not include this one.
    """
    if not principal.can_ask(model):
        raise PermissionDeniedError(f"this token may not ask model {model!r}; get one whose models claim includes it")
