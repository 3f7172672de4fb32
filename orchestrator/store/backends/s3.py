"""A storage in an S3 bucket, with the same guarantees as a disk and as few requests as possible.

Each file is one object. `write` replaces the object atomically, `create` is a conditional PUT that fails if the key
exists, and listings are never cached. botocore reads credentials, region and endpoint from the environment, and repeats
failed requests.
"""

import datetime
import email.utils
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from fsspec.exceptions import FSTimeoutError
from s3fs import S3FileSystem

from orchestrator.store.backends.location import S3Location
from orchestrator.store.errors import StorageError
from orchestrator.store.names import valid_path

LOCAL_FOLDER = Path("results", "s3")
"""The folder for logs and reports of storages in buckets, below the working directory."""
_WRITER = "writer"
_ATTEMPTS = 5
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_PAGE = 1000
"""Names per listing request; S3 returns at most 1000."""
_REASONS = {
    "NoSuchBucket": "there is no such bucket; create it first, or correct --storage",
    "InvalidAccessKeyId": "the access key is unknown; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key does not match the access key; check AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "access denied; allow the key to get, put, delete and list objects there",
    "403": "access denied; allow the key to get, put, delete and list objects there",
    "ExpiredToken": "the credentials have expired; renew AWS_SESSION_TOKEN",
}


class S3Files:
    """Files below one prefix of a bucket. `FileSystem` documents the methods."""

    def __init__(self, root: S3Location) -> None:
        self.root = root
        self.local = Path.cwd() / LOCAL_FOLDER / root.bucket / root.prefix
        # s3fs would otherwise return a shared instance, which caches listings and the session.
        self._fs = S3FileSystem(
            anon=False,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "retries": {"max_attempts": _ATTEMPTS, "mode": "standard"},
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": _READ_SECONDS,
            },
        )

    def read(self, name: str) -> bytes | None:
        with self._asking(name):
            try:
                content: bytes = self._fs.cat_file(self._path(name), max_concurrency=1)
            except FileNotFoundError as error:
                _missing_object(error)
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        with self._asking(name):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        token = secrets.token_hex(8)
        with self._asking(name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create", Metadata={_WRITER: token})
            except FileExistsError:
                # If a reply is lost, botocore repeats the request, and the repeated request fails. The token shows
                # whether the first request succeeded.
                found = self._head(name)
                return found is not None and found.get("Metadata", {}).get(_WRITER) == token
        return True

    def write_in_place(self, name: str, content: bytes) -> None:
        self.write(name, content)

    def delete(self, name: str) -> None:
        with self._asking(name):
            self._fs.call_s3("delete_object", Bucket=self.root.bucket, Key=self._key(name))

    def list(self, folder: str) -> list[str]:
        prefix = f"{self._key(folder)}/" if folder else f"{self.root.prefix}/".lstrip("/")
        with self._asking(folder):
            found = {key.removeprefix(prefix).rstrip("/") for key in self._keys(prefix)}
        return sorted(name for name in found if name and not name.startswith("."))

    def age(self, name: str) -> float | None:
        with self._asking(name):
            found = self._head(name)
        if found is None:
            return None
        written: datetime.datetime = found["LastModified"]
        now = email.utils.parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return max(0.0, (now - written).total_seconds())

    def check_writable(self) -> None:
        """Creates and deletes a small object, and checks that it cannot be created twice.

        Raises:
            StorageError: the bucket cannot be used; the message gives its name and the reason.
        """
        probe = f".probe/{secrets.token_hex(8)}"
        self.create(probe, b"once")
        twice = self.create(probe, b"twice")
        self.delete(probe)
        if twice:
            raise StorageError(
                f"storage {self.root}: on this S3 server two writers can both create the same object, so records could "
                "be lost; use a server that supports conditional writes (If-None-Match), such as Amazon S3"
            )

    def _keys(self, prefix: str) -> Iterator[str]:
        more: dict[str, Any] = {"MaxKeys": _PAGE}
        while True:
            page = self._fs.call_s3("list_objects_v2", Bucket=self.root.bucket, Prefix=prefix, Delimiter="/", **more)
            yield from (item["Key"] for item in page.get("Contents", ()))
            yield from (item["Prefix"] for item in page.get("CommonPrefixes", ()))
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._fs.call_s3("head_object", Bucket=self.root.bucket, Key=self._key(name))
        except FileNotFoundError as error:
            _missing_object(error)
            return None
        return found

    def _key(self, name: str) -> str:
        return f"{self.root.prefix}/{valid_path(name)}".lstrip("/")

    def _path(self, name: str) -> str:
        return f"{self.root.bucket}/{self._key(name)}"

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except (OSError, BotoCoreError, ClientError, FSTimeoutError) as error:
            raise StorageError(f"storage {self.root / name} cannot be used: {_reason(error)}") from None


def _missing_object(error: FileNotFoundError) -> None:
    """Raises the error again if the bucket does not exist. Returns if only the object does not exist."""
    if _code(error) == "NoSuchBucket":
        raise error


def _code(error: BaseException) -> str:
    """The S3 error code; empty if the error does not come from S3."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, NoCredentialsError):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    known = _REASONS.get(_code(error))
    if known:
        return known
    hint = (
        "check AWS_ENDPOINT_URL and the network" if isinstance(error, (BotoCoreError, FSTimeoutError)) else "try again"
    )
    return f"{str(error) or type(error).__name__}; {hint}"
