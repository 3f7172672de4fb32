"""Tracking URIs: which ones are taken, made absolute, shown without their credentials."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator.store.backends.location import S3Location
from orchestrator.store.provenance.redaction import redacted

_SERVERS = ("http", "https")
_DATABASES = ("postgresql", "mysql", "mssql")
_EXPECTED = "expected sqlite:///mlflow.db, http(s)://HOST:PORT or postgresql://HOST/DATABASE"
_LOCAL_UI = "http://127.0.0.1:5000"
"""Where `make ui` serves a database."""


def absolute_uri(uri: str) -> str:
    """A tracking URI that means the same in every folder.

    Raises:
        ValueError: where MLflow cannot or will not track there.
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
    raise ValueError(f"tracking URI {redacted(uri)!r} is of an unknown kind {scheme!r}; {_EXPECTED}")


def database_file(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for every other URI."""
    if not uri.startswith("sqlite"):
        return None
    return Path(_sqlite_parts(uri)[1])


def artifact_folder(uri: str, storage: Path | S3Location) -> str | None:
    """Where artifacts go: beside a SQLite file, into the storage for another database, and None for a server.

    A server decides itself. Without one MLflow would write to ``mlruns`` in whatever folder the process runs in.
    """
    if urlsplit(uri).scheme in _SERVERS:
        return None
    file = database_file(uri)
    return ((file.parent if file else storage) / "mlartifacts").as_uri()


def ui_base(uri: str) -> str:
    """The address of the page that shows what is tracked at `uri`, without credentials."""
    parts = urlsplit(uri)
    if parts.scheme not in _SERVERS:
        return _LOCAL_UI
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def secrets_of(uri: str) -> tuple[str, ...]:
    """The passwords in a URI, as written and as meant, so that they can be struck from any text."""
    password = urlsplit(uri).password
    return tuple(dict.fromkeys((password, unquote(password)))) if password else ()


def _absolute_sqlite(uri: str) -> str:
    prefix, path, query = _sqlite_parts(uri)
    if not path or path == ":memory:":
        raise ValueError(f"tracking URI {uri!r} names no file, so nothing would be kept; expected sqlite:///mlflow.db")
    return f"{prefix}{Path(path).expanduser().absolute()}{query}"


def _sqlite_parts(uri: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(sqlite(?:\+\w+)?:///?)([^?]*)(\?.*)?", uri)
    if found is None or not found[1].endswith(":///"):
        raise ValueError(f"tracking URI {uri!r}: expected sqlite:///mlflow.db, with three slashes before the file")
    return found[1], found[2], found[3] or ""
