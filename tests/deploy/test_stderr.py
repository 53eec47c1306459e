# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What a service writes to standard error in an image is JSON, whatever strangers send to its TLS port."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dragoman_common.testing_certificates import TestAuthority

ROOT = Path(__file__).resolve().parents[2]
STAGE = re.compile(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
BEFORE_HANDSHAKE = [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\x03\x01\x00\x05garbage", b"\n"]


def environment_of(stage):
    """What ENV says in a stage of the Dockerfile, and in those that it begins with."""
    stages = {name: (base, text) for base, name, text in STAGE.findall((ROOT / "deploy/images/Dockerfile").read_text())}
    found = {}
    while stage in stages:
        stage, text = stages[stage]
        for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE):
            found = dict(pair.split("=", 1) for pair in line.split()) | found
    return found


def is_json(line):
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def send(port, sent):
    """Send it in plaintext, and wait until the server has hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def distrust(port):
    """Shake hands as one who does not know the server's authority."""
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(ssl.SSLError):
        context.wrap_socket(connection, server_hostname="localhost")


def written(folder, environment):
    """What a TLS server has written when such clients have been there, line by line."""
    files = TestAuthority().files(folder / "tls")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.tls_server", str(files.chain.parent)],
        cwd=ROOT,
        env=inherited | environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = [process.stderr.readline()]
            port = json.loads(lines[0])["port"]
            for sent in BEFORE_HANDSHAKE:
                send(port, sent)
            distrust(port)
            process.terminate()
            _, rest = process.communicate(timeout=30)
        finally:
            process.kill()
    return lines + rest.splitlines()


@pytest.mark.parametrize("stage", ["lite", "torch"])
def test_standard_error_is_json_under_failed_handshakes(tmp_path, stage):
    environment = {name: value for name, value in environment_of(stage).items() if name not in {"PATH", "HOME"}}
    lines = written(tmp_path, environment)
    assert [line for line in lines if not is_json(line)] == []
    assert [json.loads(line)["message"] for line in (lines[0], lines[-1])] == ["listening", "stopped"]


def test_without_the_images_environment_grpc_writes_lines_of_its_own(tmp_path):
    """Else the claim above holds whatever the images say."""
    assert [line for line in written(tmp_path, {}) if "Handshake failed" in line and not is_json(line)]
