# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The S3 store over TLS: a MinIO with a certificate of an authority that only the setting knows."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman_common.errors import UnavailableError
from dragoman_common.settings import Secret
from dragoman_registry.contracts import DATA, KEY
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings
from tests.parts import minio as minio_part

pytestmark = pytest.mark.slow


def certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1, as the server wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "public.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "private.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_only_a_certificate_of_a_known_authority_is_spoken_to(tmp_path):
    certificate(tmp_path / "certificates")
    with ExitStack() as stack:
        server = minio_part.required(
            lambda: stack.enter_context(
                minio_part.running(tmp_path / "minio", certificates=tmp_path / "certificates", killable=True)
            )
        )
        assert server.endpoint.startswith("https://")
        bucket = Bucket(name=server.make_bucket(), endpoint=server.endpoint, region=server.region)
        given = {
            "s3_access_key_id": Secret(server.access_key),
            "s3_secret_access_key": Secret(server.secret_key),
            "s3_retries": 0,
        }
        trusting = S3Store(bucket, S3Settings(**given, s3_ca_file=tmp_path / "certificates" / "public.crt"))
        await trusting.create(KEY, DATA)
        assert await trusting.read(KEY) == DATA
        assert (await trusting.presigned_url(KEY, lifetime_s=5)).startswith("https://")
        trusting.close()
        doubting = S3Store(bucket, S3Settings(**given))
        with pytest.raises(UnavailableError):
            await doubting.read(KEY)
        doubting.close()
