"""Where a storage lies: a folder, or a place in an S3 bucket."""

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.errors import StorageError
from orchestrator.store.names import valid_path

_SCHEME = "s3://"


@dataclass(frozen=True)
class S3Location:
    """A bucket, and what the keys of a storage in it begin with."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"'{self}'"

    def __truediv__(self, name: str) -> "S3Location":
        return S3Location(self.bucket, f"{self.prefix}/{name}".strip("/"))

    def as_uri(self) -> str:
        """The same as a text."""
        return str(self)


def locate(place: str | Path) -> Path | S3Location:
    """A folder as an absolute path, or a location in a bucket.

    Raises:
        StorageError: where an address with a scheme is none of S3, or not as it must be.
    """
    text = str(place)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://?", text)
    if scheme is None or isinstance(place, Path):
        return Path(place).expanduser().resolve()
    bucket, _, prefix = text.removeprefix(_SCHEME).partition("/")
    if not text.startswith(_SCHEME) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        # Not shown in full: who writes a key into an address would find it in a log.
        raise StorageError(
            f"storage {scheme[1]}://...: expected a folder or s3://BUCKET/PREFIX, the bucket of 3 to 63 small letters, "
            "digits, '.' and '-'; credentials come from the environment alone (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL where it is not Amazon's)"
        )
    prefix = prefix.rstrip("/")
    return S3Location(bucket, valid_path(prefix) if prefix else "")
