# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The authenticated caller, as the domain knows it."""

from dragoman_common.auth import Caller
from dragoman_gateway.policy import Principal


def principal_of(caller: Caller) -> Principal:
    """The end user behind a call; a models claim of "*" allows all of the tenant's."""
    models = None if "*" in caller.models else caller.models
    return Principal(tenant=caller.tenant, subject=caller.subject, models=models)
