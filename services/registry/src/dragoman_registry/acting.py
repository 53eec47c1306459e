# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Who acts in a call, as records name them."""

from dragoman_common.auth import Caller, current_caller
from dragoman_common.errors import PermissionDeniedError
from dragoman_common.names import check_name


def caller_and_tenant() -> tuple[Caller, str]:
    """Return the caller of this call, and the tenant whose objects it may see.

    Raises:
        PermissionDeniedError: the call names no tenant.
        InvalidArgumentError: the tenant's name cannot be part of a key.
    """
    caller = current_caller()
    if not caller.tenant:
        raise PermissionDeniedError("the call names no tenant: a platform service must say for whom it calls")
    return caller, check_name(caller.tenant, field="tenant")


def who(caller: Caller) -> str:
    """Return identity and subject for the record; the subject is the caller's own text, so only its printable part."""
    subject = "".join(character for character in caller.subject if character.isprintable())[:256]
    return f"{caller.identity}:{subject}"
