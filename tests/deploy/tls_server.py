# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""A service's server and its logs, without a service: `python -m tests.deploy.tls_server FOLDER`, on TLS only.

FOLDER is what testing_certificates writes. Ends on SIGTERM, as a service does.
"""

import asyncio
import sys
from pathlib import Path

from dragoman_common import logs
from dragoman_common.server import serve
from dragoman_common.testing import TestKeys, server_settings
from dragoman_common.tls import TlsSettings


async def main(folder):
    """Serve health, and nothing else."""
    tls = TlsSettings(tls_cert_file=folder / "tls.crt", tls_key_file=folder / "tls.key")
    await serve([], server_settings(tls=tls), authenticator=TestKeys().authenticator("monitor"), policy={})


if __name__ == "__main__":
    logs.configure("monitor")
    asyncio.run(main(Path(sys.argv[1])))
