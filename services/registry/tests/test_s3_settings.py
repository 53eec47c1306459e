# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What may stand in a store URL and in the S3 settings, and that no message repeats a secret."""

import pytest

from dragoman_common.errors import InvalidArgumentError
from dragoman_common.settings import Secret, SettingsError, parse
from dragoman_registry.s3 import S3Store
from dragoman_registry.s3_settings import Bucket, S3Settings, bucket_from_url, credentials

SECRET = "wJalrXUtnFEMI"
BUCKET = Bucket(name="models", endpoint="http://127.0.0.1:1", region="us-east-1")


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://models", Bucket(name="models", endpoint=None, region="us-east-1")),
        (
            "s3://models?endpoint=http://127.0.0.1:9100&region=eu-west-1",
            Bucket(name="models", endpoint="http://127.0.0.1:9100", region="eu-west-1"),
        ),
        (
            "s3://a.b-c/?endpoint=https%3A%2F%2Fminio.local%2F",
            Bucket(name="a.b-c", endpoint="https://minio.local", region="us-east-1"),
        ),
    ],
)
def test_a_url_names_bucket_endpoint_and_region(url, bucket):
    assert bucket_from_url(url) == bucket


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://UPPER",
        "s3://models/prefix",
        "s3://models#x",
        f"s3://key:{SECRET}@models",
        f"s3://models?secret_access_key={SECRET}",
        "s3://models?endpoint=",
        "s3://models?endpoint=ftp://host",
        f"s3://models?endpoint=http://key:{SECRET}@host",
        "s3://models?endpoint=http://host/path",
        "s3://models?region=",
        "s3://models?region=a%20b",
        "https://models",
    ],
)
def test_any_other_url_is_refused_without_repeating_what_may_be_secret(url):
    with pytest.raises(InvalidArgumentError, match="store_url") as caught:
        bucket_from_url(url)
    assert SECRET not in str(caught.value)


def settings(**environ: str) -> S3Settings:
    return parse(S3Settings, environ, prefix="")


@pytest.mark.parametrize(
    "environ",
    [
        {"S3_ENCRYPTION": "rot13"},
        {"S3_ENCRYPTION_KEY_ID": "key"},
        {"S3_ENCRYPTION": "AES256", "S3_ENCRYPTION_KEY_ID": "key"},
        {"S3_TIMEOUT_S": "0"},
        {"S3_TIMEOUT_S": "nan"},
        {"S3_RETRIES": "-1"},
        {"S3_RETRIES": "11"},
    ],
)
def test_a_setting_that_cannot_hold_is_named(environ):
    with pytest.raises(SettingsError, match="s3_"):
        settings(**environ)


def test_no_repr_shows_a_secret():
    given = settings(S3_ACCESS_KEY_ID="id", S3_SECRET_ACCESS_KEY=SECRET, S3_SESSION_TOKEN=SECRET)
    store = S3Store(BUCKET, given)
    shown = f"{given!r}{credentials(given)!r}{store!r}{vars(store)!r}{vars(store._client)!r}"
    store.close()
    assert SECRET not in shown


def test_credentials_come_from_a_file(tmp_path):
    file = tmp_path / "credentials"
    file.write_text(f"[other]\nx=1\n[default]\naws_access_key_id = id\naws_secret_access_key={SECRET}%x\n")
    found = credentials(settings(S3_CREDENTIALS_FILE=str(file)))
    assert (found.access_key_id.reveal(), found.secret_access_key.reveal()) == ("id", f"{SECRET}%x")
    assert found.session_token is None


@pytest.mark.parametrize(
    "text", [None, "", SECRET, f"[default]\n{SECRET}", f"[default]\naws_secret_access_key={SECRET}"]
)
def test_a_credentials_file_that_does_not_hold_is_named_without_its_text(tmp_path, text):
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidArgumentError, match="credentials") as caught:
        credentials(settings(S3_CREDENTIALS_FILE=str(file)))
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize(
    "given",
    [
        S3Settings(),
        S3Settings(s3_access_key_id=Secret("id")),
        S3Settings(s3_secret_access_key=Secret(SECRET)),
        S3Settings(s3_access_key_id=Secret(""), s3_secret_access_key=Secret("")),
    ],
)
def test_there_are_no_default_credentials(given, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(InvalidArgumentError, match="s3_credentials_file"):
        S3Store(BUCKET, given)


def test_file_and_variables_together_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="not both"):
        credentials(settings(S3_CREDENTIALS_FILE=str(tmp_path), S3_ACCESS_KEY_ID="id"))


@pytest.mark.parametrize("text", [None, "no certificates"])
def test_an_authority_file_that_does_not_hold_is_named(tmp_path, text):
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    given = S3Settings(s3_access_key_id=Secret("id"), s3_secret_access_key=Secret(SECRET), s3_ca_file=file)
    with pytest.raises(InvalidArgumentError, match=r"ca\.pem"):
        S3Store(BUCKET, given)
