# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""All checks of one deployment: the parts at the same time, the findings in a fixed order, and never a traceback."""

import asyncio
from collections.abc import AsyncIterator, Callable

from dragoman_client.doctor.books import check_books
from dragoman_client.doctor.broker import check_broker
from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.files import check_files
from dragoman_client.doctor.finding import Finding, Findings
from dragoman_client.doctor.keys import check_keys
from dragoman_client.doctor.models import check_models
from dragoman_client.doctor.services import check_services
from dragoman_client.doctor.store import check_store
from dragoman_common.errors import DragomanError

LIMIT_S = 60.0
_PARTS: tuple[tuple[str, Callable[[Deployment], AsyncIterator[Finding]]], ...] = (
    ("services", check_services),
    ("keys", check_keys),
    ("models", check_models),
    ("broker", check_broker),
    ("store", check_store),
    ("books", check_books),
    ("files", check_files),
)


async def examine(deployment: Deployment) -> list[Finding]:
    """Run every check. What a check cannot do is its finding, too."""
    found = await asyncio.gather(*(_all_of(name, check(deployment)) for name, check in _PARTS))
    return [finding for findings in found for finding in findings]


async def _all_of(name: str, checks: AsyncIterator[Finding]) -> list[Finding]:
    findings: list[Finding] = []
    here = Findings(name)
    try:
        async with asyncio.timeout(LIMIT_S):
            async for finding in checks:
                findings.append(finding)  # noqa: PERF401 - what was found before an error is kept
    except TimeoutError:
        findings.append(here.fail("checks", f"not done within {LIMIT_S:g} s", "try again when the machine is idle"))
    except DragomanError as error:
        findings.append(here.fail("checks", error.message, "see the lines above"))
    except Exception as error:  # noqa: BLE001 - a doctor that falls over helps nobody: its own defect is one line, too
        advice = "a defect of the doctor: report it with this line"
        findings.append(here.fail("checks", f"ended by {type(error).__name__}", advice))
    return findings
