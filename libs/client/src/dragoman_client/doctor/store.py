# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The registry's store on S3: reachable, lets us in, honours conditions, encrypts as asked, and its clock.

Writes under doctor/, where no record of the registry is, and removes what it wrote.
"""

import configparser
import io
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from dragoman_client.doctor.deployment import Deployment
from dragoman_client.doctor.finding import Finding, Findings, in_threads
from dragoman_client.local.parts import PartsSettings
from dragoman_common.loopback import is_loopback

if TYPE_CHECKING:
    import urllib3
    from minio import Minio

TIMEOUT_S = 5.0
_HERE = Findings("store")
_CORRECT = "correct DRAGOMAN_UP_S3_CREDENTIALS_FILE, or the rights of its user on the bucket (get, put, list, delete)"


async def check_store(deployment: Deployment) -> AsyncIterator[Finding]:
    """Ask the store; blocking calls run in a thread."""
    if deployment.parts is None:
        yield _HERE.skipped("reachable", "the store is a folder of the home")
        return
    try:
        import minio  # noqa: F401 - only whether it is there
    except ImportError:
        yield _HERE.skipped("reachable", "needs dragoman-client with its extra doctor")
        return
    async for finding in in_threads(_look(deployment.parts)):
        yield finding


def _look(parts: PartsSettings) -> Iterator[Finding]:
    from minio import Minio
    from minio.error import MinioException, S3Error
    from urllib3.exceptions import HTTPError

    url = urlsplit(parts.store_url)
    options = parse_qs(url.query)
    region = options.get("region", ["us-east-1"])[0]
    endpoint = options.get("endpoint", [f"https://s3.{region}.amazonaws.com"])[0]
    at = urlsplit(endpoint)
    try:
        access_key, secret_key, token = _credentials(parts.s3_credentials_file)
        http = _http(parts.s3_ca_file)
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        # Never the parser's own words: they quote the line, which may be the secret.
        yield _HERE.fail(
            "credentials", f"{parts.s3_credentials_file} cannot be used ({type(error).__name__})", _CORRECT
        )
        return
    yield from _encrypted_way(endpoint)
    store = Minio(
        at.netloc, access_key, secret_key, token, secure=at.scheme == "https", region=region, http_client=http
    )
    try:
        skew_s = _skew_s(http, endpoint)
        next(iter(store.list_objects(url.netloc, prefix="doctor/")), None)
        yield _HERE.ok("reachable", f"{endpoint} answers, and its bucket {url.netloc} can be listed")
        if skew_s is not None:
            yield _HERE.clock(skew_s)
        yield from _conditions(store, http, url.netloc)
        yield from _encryption(store, url.netloc, parts)
    except S3Error as error:
        yield _refusal(error.code or "an unknown code", url.netloc)
    except (MinioException, HTTPError, OSError, ValueError) as error:
        advice = "start the store, or correct DRAGOMAN_UP_STORE_URL and DRAGOMAN_UP_S3_CA_FILE"
        yield _HERE.fail("reachable", f"{endpoint} does not answer ({type(error).__name__})", advice)
    finally:
        http.clear()


def _refusal(code: str, bucket: str) -> Finding:
    if code == "NoSuchBucket":
        return _HERE.fail("bucket", f"there is no bucket {bucket}", "make it, or correct DRAGOMAN_UP_STORE_URL")
    if code == "RequestTimeTooSkewed":
        return _HERE.fail("clock", "the store refuses us: our clocks differ too much", "synchronise both clocks (NTP)")
    if code in ("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"):
        return _HERE.fail("credentials", f"the store refuses our credentials ({code[:40]})", _CORRECT)
    return _HERE.fail("reachable", f"the store answers {code[:60]}", "look at the store's log")


def _conditions(store: "Minio", http: "urllib3.PoolManager", bucket: str) -> Iterator[Finding]:
    """Create one key twice: the second must be refused, or two registries could both write the same move."""
    key = f"doctor/probe-{secrets.token_hex(8)}"
    # The public way to send a header with a put: the URL is signed, the condition is not part of it.
    url = store.get_presigned_url("PUT", bucket, key, expires=timedelta(minutes=1))
    try:
        first, second = (
            http.request("PUT", url, body=body, headers={"If-None-Match": "*"}).status for body in (b"1", b"2")
        )
    finally:
        store.remove_object(bucket, key)
    if first not in (200, 201, 204):
        yield _HERE.fail("conditions", f"an object cannot be written (HTTP {first})", _CORRECT)
    elif second in (409, 412):
        yield _HERE.ok("conditions", "create-if-absent is honoured")
    else:
        yield _HERE.fail(
            "conditions",
            f"the store overwrites in spite of If-None-Match (HTTP {second})",
            "use a store that honours conditional writes, or run a single registry: two could lose each other's moves",
        )


def _encryption(store: "Minio", bucket: str, parts: PartsSettings) -> Iterator[Finding]:
    from minio.error import S3Error
    from minio.sse import Sse, SseKMS, SseS3

    if parts.s3_encryption is None:
        yield _HERE.ok("encryption", "left to the bucket: DRAGOMAN_UP_S3_ENCRYPTION is not set")
        return
    asked: Sse = SseS3() if parts.s3_encryption == "AES256" else SseKMS(parts.s3_encryption_key_id or "", {})
    key = f"doctor/probe-{secrets.token_hex(8)}"
    advice = "give the store a key service, or unset DRAGOMAN_UP_S3_ENCRYPTION"
    try:
        store.put_object(bucket, key, io.BytesIO(b"1"), 1, sse=asked)
        found = store.stat_object(bucket, key).metadata or {}
        got = {name.lower(): value for name, value in found.items()}.get("x-amz-server-side-encryption")
    except S3Error as error:
        yield _HERE.fail("encryption", f"{parts.s3_encryption} is refused ({error.code})", advice)
        return
    finally:
        store.remove_object(bucket, key)
    if got == parts.s3_encryption:
        yield _HERE.ok("encryption", f"objects are encrypted with {got}")
    else:
        yield _HERE.fail("encryption", f"asked for {parts.s3_encryption}, and the store kept {got or 'plain'}", advice)


def _encrypted_way(endpoint: str) -> Iterator[Finding]:
    at = urlsplit(endpoint)
    if at.scheme == "https":
        yield _HERE.ok("tls", "over TLS, its certificate checked")
    elif not is_loopback(at.hostname or ""):
        yield _HERE.warn("tls", f"{endpoint} is spoken to in the clear", "use https:// in DRAGOMAN_UP_STORE_URL")


def _skew_s(http: "urllib3.PoolManager", endpoint: str) -> float | None:
    """From the Date of an answer, which has whole seconds: what neither waiting nor rounding explains."""
    begin_s = time.time()
    date = http.request("HEAD", f"{endpoint}/").headers.get("Date")
    end_s = time.time()
    if date is None:
        return None
    stamp_s = parsedate_to_datetime(date).timestamp()
    return min(stamp_s + 1 - begin_s, 0.0) + max(stamp_s - end_s, 0.0)


def _http(ca_file: Path | None) -> "urllib3.PoolManager":
    import ssl

    import urllib3

    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return urllib3.PoolManager(
        ssl_context=context, timeout=urllib3.Timeout(TIMEOUT_S), retries=urllib3.Retry(total=1, redirect=False)
    )


def _credentials(path: Path) -> tuple[str, str, str | None]:
    parser = configparser.RawConfigParser()
    parser.read_string(path.read_text(encoding="utf-8"))
    profile = parser["default"]
    return profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token")
