# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The S3 requests that the object store is made of, over the `minio` package.

Owns signing credentials, TLS, timeouts, retries, the threads that requests run in, and the step from what the store
says to a DragomanError. It knows nothing of keys' meaning or of digests.

The package's public put_object knows no condition and completes an upload by itself, so its lower-level calls are used
here and nowhere else (docs/decisions/0004-s3-client.md).
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider
from minio.datatypes import Part
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from dragoman_common.errors import DragomanError, InvalidArgumentError, UnavailableError
from dragoman_registry.ports import (
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTag,
    StoreFullError,
)
from dragoman_registry.s3_settings import Bucket, Credentials, S3Settings, credentials

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_THREADS = 32
MAX_NAMES = 1_000_000
CONNECT_S = 5.0
_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 1.0
_RETRIED_STATUS = (500, 502, 503, 504)
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_REFUSED_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
# MinIO gives its disk's own error as an internal one.
_NO_SPACE = "no space left on device"
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})


class StoreConflictError(UnavailableError):
    """Another write to the same key was under way; nothing is known of its outcome yet."""


class S3Client:
    """One bucket. Methods block; call() runs them in this client's own threads."""

    def __init__(self, bucket: Bucket, settings: S3Settings) -> None:
        """Prepare; nothing is sent yet.

        Raises:
            InvalidArgumentError: a setting does not hold.
        """
        self.bucket = bucket.name
        endpoint = urlsplit(bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com")
        self._http = _http(settings)
        self._minio = Minio(
            endpoint.netloc,
            secure=endpoint.scheme == "https",
            region=bucket.region,
            credentials=_SettingsProvider(settings),
            http_client=self._http,
        )
        self._encryption = _encryption_headers(settings)
        self._retries = settings.s3_retries
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="s3")
        # A store that drips its answer byte by byte keeps every socket timeout content: the wait as a whole ends too.
        self._longest_s = (settings.s3_timeout_s + _MAX_BACKOFF_S) * (1 + settings.s3_retries) + CONNECT_S

    def close(self) -> None:
        """Let go of threads and connections. A request under way ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a method of this client, or a digest's update, in a thread.

        Raises:
            UnavailableError: no end within the time that all retries together may take.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            return await asyncio.wait_for(future, self._longest_s)
        except TimeoutError:
            raise UnavailableError(f"the store did not answer within {self._longest_s:.0f} s") from None

    def put(self, key: str, data: bytes | memoryview, if_absent: bool) -> None:
        """Keep an object in one request.

        Raises:
            ObjectExistsError: if_absent, and the key is taken.
            StoreConflictError: if_absent, and another writer is at the key just now.
        """
        headers: dict[str, str | list[str] | tuple[str]] = {**self._encryption}
        if if_absent:
            headers["If-None-Match"] = "*"
        with self._translated(key):
            self._minio._put_object(self.bucket, key, data, headers)  # type: ignore[arg-type]  # noqa: SLF001 - see above

    def replace(self, key: str, data: bytes, expected: bytes) -> None:
        """Keep an object in the expected one's place: read, compare, and write under the tag that was read.

        Raises:
            ObjectChangedError: the key holds something else, or did by the time of the write. A store that ignores the
                condition lets the last writer win.
        """
        try:
            with self._translated(key):
                reply = self._minio.get_object(self.bucket, key)
                try:
                    found, tag = bytes(reply.read(len(expected) + 1)), str(reply.headers.get("ETag", ""))
                finally:
                    reply.close()
                    reply.release_conn()
                if found != expected:
                    raise ObjectChangedError(f"{key} holds something else")
                headers: dict[str, str | list[str] | tuple[str]] = {**self._encryption, "If-Match": tag}
                self._minio._put_object(self.bucket, key, data, headers)  # noqa: SLF001 - see above
        except (ObjectExistsError, ObjectNotFoundError, StoreConflictError):
            raise ObjectChangedError(f"{key} was replaced meanwhile") from None

    def begin(self, key: str) -> str:
        """Begin an upload in parts and return its id."""
        with self._translated(key):
            return self._minio._create_multipart_upload(self.bucket, key, {**self._encryption})  # noqa: SLF001 - see above

    def put_part(self, key: str, upload: str, number: int, data: memoryview) -> Part:
        """Send part number, from 1, and return what complete needs of it."""
        with self._translated(key):
            etag = self._minio._upload_part(self.bucket, key, data, None, upload, number)  # type: ignore[arg-type]  # noqa: SLF001 - see above
        return Part(number, etag)

    def complete(self, key: str, upload: str, parts: list[Part]) -> None:
        """Make the object of all parts appear under its key, in one step."""
        with self._translated(key):
            result = self._minio._complete_multipart_upload(self.bucket, key, upload, parts)  # noqa: SLF001 - see above
        # S3 may begin its answer with 200 before it is done, and put the error behind it.
        if not result.etag:
            raise UnavailableError(f"{key}: the store did not complete the upload")

    def unfinished(self, prefix: str) -> list[tuple[str, str, datetime]]:
        """Return key, id and begin of the uploads that did not end below a prefix, an empty one or a whole key."""
        found: list[tuple[str, str, datetime]] = []
        key_marker = upload_marker = None
        with self._translated(prefix or self.bucket):
            while len(found) < MAX_NAMES:
                page = self._minio._list_multipart_uploads(  # noqa: SLF001 - see above
                    self.bucket, prefix=prefix, key_marker=key_marker, upload_id_marker=upload_marker
                )
                found += [
                    (item.object_name, item.upload_id, item.initiated_time)
                    for item in page.uploads
                    if item.upload_id and item.initiated_time
                ]
                key_marker, upload_marker = page.next_key_marker, page.next_upload_id_marker
                if not page.is_truncated or not key_marker:
                    break
        return found

    def abandon(self, key: str, upload: str) -> bool:
        """Free the parts of an upload that will not be completed; what cannot be freed is collected later."""
        try:
            with self._translated(key):
                self._minio._abort_multipart_upload(self.bucket, key, upload)  # noqa: SLF001 - see above
        except DragomanError:
            logger.warning("an unfinished upload stays in the store until it expires", extra={"key": key})
            return False
        return True

    def read(self, key: str, offset: int, length: int | None) -> bytes:
        """Return bytes from offset on; fewer than length at the object's end."""
        with self._translated(key):
            for _ in range(self._retries):
                try:
                    return self._read(key, offset, length)
                except (ProtocolError, ReadTimeoutError) as error:
                    # The transport repeats a request until the answer begins; a body that breaks off is ours to repeat.
                    logger.info("a read broke off", extra={"key": key, "error": type(error).__name__})
            return self._read(key, offset, length)

    def _read(self, key: str, offset: int, length: int | None) -> bytes:
        try:
            reply = self._minio.get_object(self.bucket, key, offset=offset, length=length or 0)
        except S3Error as error:
            # The object exists and ends before offset.
            if error.code == "InvalidRange":
                return b""
            raise
        try:
            return bytes(reply.read(length))
        finally:
            # Closing, not draining: a store that ignores the range must not make us read the rest.
            reply.close()
            reply.release_conn()

    def remove(self, key: str) -> None:
        """Delete an object; S3 says the same when there is none."""
        with self._translated(key):
            self._minio.remove_object(self.bucket, key)

    def names(self, prefix: str) -> list[str]:
        """Return the names directly below prefix, in the store's order."""
        found: list[str] = []
        with self._translated(prefix):
            for item in self._minio.list_objects(self.bucket, prefix=f"{prefix}/"):
                found.append((item.object_name or "").removeprefix(f"{prefix}/").rstrip("/"))
                if len(found) > MAX_NAMES:
                    raise UnavailableError(f"{prefix}: the store lists more than {MAX_NAMES} names")
        return found

    def tags(self, prefix: str) -> dict[str, ObjectTag]:
        """Return every key below prefix, with what changes when the object is replaced."""
        found: dict[str, ObjectTag] = {}
        with self._translated(prefix):
            for item in self._minio.list_objects(self.bucket, prefix=f"{prefix}/", recursive=True):
                found[item.object_name or ""] = ObjectTag(item.size or 0, f"{item.etag} {item.last_modified}")
                if len(found) > MAX_NAMES:
                    raise UnavailableError(f"{prefix}: the store lists more than {MAX_NAMES} names")
        return found

    def presign(self, key: str, lifetime_s: int) -> str:
        """Return a URL that reads the object for a while, without credentials. Nothing is sent."""
        with self._translated(key):
            return self._minio.presigned_get_object(self.bucket, key, expires=timedelta(seconds=lifetime_s))

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            raise self._meaning(key, error) from error
        except (MinioException, HTTPError, ParseError, UnicodeDecodeError, ValueError) as error:
            raise UnavailableError(f"{key}: the store does not answer ({type(error).__name__})") from error

    def _meaning(self, key: str, error: S3Error) -> DragomanError:
        code = error.code if error.code and _CODE.fullmatch(error.code) else "an unknown code"
        if code == "PreconditionFailed":
            return ObjectExistsError(f"{key} is taken")
        if code == "NoSuchKey":
            return ObjectNotFoundError(f"{key} is not kept")
        if code in _CONFLICTS:
            return StoreConflictError(f"{key}: another writer is at it; try again")
        if code == "NoSuchBucket":
            return UnavailableError(f"the store has no bucket {self.bucket}; the registry does not make buckets")
        if code in _REFUSED_CREDENTIALS:
            return UnavailableError(f"the store refuses the registry's credentials for bucket {self.bucket} ({code})")
        if code in _FULL or _NO_SPACE in (error.message or ""):
            return StoreFullError(key, code)
        return UnavailableError(f"{key}: the store answers {code}")


class _SettingsProvider(Provider):
    """Hands the settings' credentials to the signer; a credentials file is read again when it has changed."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._held = _signable(credentials(settings))
        self._read_at = self._changed_at()

    def retrieve(self) -> MinioCredentials:
        changed_at = self._changed_at()
        if changed_at != self._read_at:
            self._read_at = changed_at
            try:
                self._held = _signable(credentials(self._settings))
            except InvalidArgumentError as error:
                # Half a file, while it is being replaced: the old ones hold until the next change.
                logger.warning("the store's credentials were not read again", extra={"error": str(error)})
        return self._held

    def _changed_at(self) -> int:
        try:
            path = self._settings.s3_credentials_file
            return path.stat().st_mtime_ns if path else 0
        except OSError:
            return -1


def _signable(found: Credentials) -> MinioCredentials:
    token = found.session_token.reveal() if found.session_token else None
    return MinioCredentials(found.access_key_id.reveal(), found.secret_access_key.reveal(), token)


def _http(settings: S3Settings) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    if settings.s3_ca_file is not None:
        try:
            context.load_verify_locations(settings.s3_ca_file)
        except OSError as error:
            raise InvalidArgumentError(
                f"s3_ca_file {settings.s3_ca_file.name} cannot be used: {error.strerror or 'not PEM certificates'}"
            ) from None
    return urllib3.PoolManager(
        maxsize=MAX_THREADS,
        ssl_context=context,
        timeout=urllib3.Timeout(connect=min(CONNECT_S, settings.s3_timeout_s), read=settings.s3_timeout_s),
        retries=urllib3.Retry(
            total=settings.s3_retries,
            backoff_factor=_BACKOFF_S,
            backoff_max=_MAX_BACKOFF_S,
            status_forcelist=_RETRIED_STATUS,
            # The last answer says more than "too many retries".
            raise_on_status=False,
            respect_retry_after_header=False,
            # The store must not send our signed requests elsewhere.
            redirect=False,
        ),
    )


def _encryption_headers(settings: S3Settings) -> dict[str, str]:
    if settings.s3_encryption is None:
        return {}
    headers = {"X-Amz-Server-Side-Encryption": settings.s3_encryption}
    if settings.s3_encryption_key_id:
        headers["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"] = settings.s3_encryption_key_id
    return headers
