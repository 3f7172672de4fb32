"""The location of a storage: a folder, or a prefix in an S3 bucket."""

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.errors import StorageError
from orchestrator.store.names import valid_path

_SCHEME = "s3://"


@dataclass(frozen=True)
class S3Location:
    """An S3 bucket, and the prefix of all keys of the storage."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"'{self}'"

    def __truediv__(self, name: str) -> "S3Location":
        return S3Location(self.bucket, f"{self.prefix}/{name}".strip("/"))

    def as_uri(self) -> str:
        """The location as a URI."""
        return str(self)


def locate(location: str | Path) -> Path | S3Location:
    """Returns the absolute path of a folder, or a location in a bucket.

    Raises:
        StorageError: the location is empty, the scheme is not s3, or the bucket is invalid.
    """
    text = str(location)
    if not text.strip():
        raise StorageError(f"storage {text!r} is empty: expected a folder or s3://BUCKET/PREFIX")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://?", text)
    if scheme is None or isinstance(location, Path):
        return Path(location).expanduser().resolve()
    bucket, _, prefix = text.removeprefix(_SCHEME).partition("/")
    if not text.startswith(_SCHEME) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        # Only the scheme is shown, because the address may contain an access key, which must not be logged.
        raise StorageError(
            f"storage {scheme[1]}://...: expected a folder or s3://BUCKET/PREFIX, where BUCKET has 3 to 63 lower-case "
            "letters, digits, '.' and '-'; set credentials in the environment only (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY; also AWS_ENDPOINT_URL if the server is not Amazon S3)"
        )
    prefix = prefix.rstrip("/")
    return S3Location(bucket, valid_path(prefix) if prefix else "")
