# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A command's connection to the registry, as the operator that $DRAGOMAN_OPERATOR names, or the laptop's own."""

from dragoman_client.cli.session import Session
from dragoman_client.data_store import DataStoreOperator
from dragoman_client.local.user_tokens import LOCAL_TENANT
from dragoman_client.registry_operator import RegistryOperator


def registry_of(session: Session) -> RegistryOperator:
    """The registry of the running platform, as the local tenant.

    Raises:
        UnavailableError: no platform is running.
        NotFoundError: $DRAGOMAN_OPERATOR names nobody who has a key here.
    """
    return RegistryOperator(session.target("registry"), session.operator_key(), tenant=LOCAL_TENANT, tls=session.tls)


def data_store_of(session: Session) -> DataStoreOperator:
    """The registry's data sets, as registry_of.

    Raises:
        UnavailableError: no platform is running.
        NotFoundError: $DRAGOMAN_OPERATOR names nobody who has a key here.
    """
    return DataStoreOperator(session.target("registry"), session.operator_key(), tenant=LOCAL_TENANT, tls=session.tls)
