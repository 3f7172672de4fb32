"""Tracking URIs: validation, absolute form, and the addresses and files derived from them."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator.store.backends.location import S3Location
from orchestrator.store.provenance.redaction import redacted

_SERVERS = ("http", "https")
_DATABASES = ("postgresql", "mysql", "mssql")
_EXPECTED = "expected sqlite:///mlflow.db, http(s)://HOST:PORT or postgresql://HOST/DATABASE"
_LOCAL_UI = "http://127.0.0.1:5000"
"""The address at which `make ui` serves a database."""


def absolute_uri(uri: str) -> str:
    """Returns a tracking URI that does not depend on the working directory.

    Raises:
        ValueError: if MLflow does not support this URI.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        return _absolute_sqlite(uri)
    if scheme in (*_SERVERS, *_DATABASES):
        return uri
    if scheme in ("", "file"):
        raise ValueError(
            f"tracking URI {redacted(uri)!r} is a folder, which MLflow 3 no longer writes to; {_EXPECTED}, "
            "for example --tracking-uri sqlite:///mlflow.db"
        )
    raise ValueError(f"tracking URI {redacted(uri)!r} has the unknown scheme {scheme!r}; {_EXPECTED}")


def database_file(uri: str) -> Path | None:
    """Returns the file of a SQLite URI; None for any other URI."""
    return Path(_sqlite_parts(uri)[1]) if uri.startswith("sqlite") else None


def artifact_folder(uri: str, storage: Path | S3Location) -> str | None:
    """Returns the URI of the artifact folder: next to a SQLite file, or in the storage for any other database.

    Without it, MLflow would write to ``mlruns`` in the working directory. Returns None for a server, which chooses its
    own folder.
    """
    if urlsplit(uri).scheme in _SERVERS:
        return None
    file = database_file(uri)
    return ((file.parent if file else storage) / "mlartifacts").as_uri()


def ui_base(uri: str) -> str:
    """Returns the address of the MLflow UI for a tracking URI, without credentials."""
    parts = urlsplit(uri)
    if parts.scheme not in _SERVERS:
        return _LOCAL_UI
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def secrets_of(uri: str) -> tuple[str, ...]:
    """Returns the password of a URI, percent-encoded and decoded, so that both can be removed from messages."""
    password = urlsplit(uri).password
    return tuple(dict.fromkeys((password, unquote(password)))) if password else ()


def _absolute_sqlite(uri: str) -> str:
    prefix, path, query = _sqlite_parts(uri)
    if not path or path == ":memory:":
        raise ValueError(f"tracking URI {uri!r} names no file, so nothing would be kept; expected sqlite:///mlflow.db")
    return f"{prefix}{Path(path).expanduser().absolute()}{query}"


def _sqlite_parts(uri: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///?)([^?]*)(\?.*)?", uri)
    if match is None or not match[1].endswith(":///"):
        raise ValueError(f"tracking URI {uri!r}: expected sqlite:///mlflow.db, with three slashes before the file")
    return match[1], match[2], match[3] or ""
