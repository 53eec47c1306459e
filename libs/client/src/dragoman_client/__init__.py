# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The Python SDK of Dragoman: `Client`, `AsyncClient`, and the values they answer with."""

from dragoman_client.async_client import AsyncClient
from dragoman_client.client import Client
from dragoman_client.results import Classification, ClassifyResult, FeedbackItem, ServedModel

__all__ = ["AsyncClient", "Classification", "ClassifyResult", "Client", "FeedbackItem", "ServedModel"]
