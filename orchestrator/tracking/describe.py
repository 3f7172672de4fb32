"""Describes a tracker without changing it: its version and number of experiments, if it answers."""

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from orchestrator.counted import counted
from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import absolute_uri, database_file, ui_base
from orchestrator.tracking.client import connect, reason, require_mlflow

if TYPE_CHECKING:
    from sqlalchemy import Engine

TIMEOUT_SECONDS = 5.0


def describe_tracker(uri: str) -> str:
    """Returns a one-line description of the tracker at a URI, without credentials.

    Raises:
        ValueError: if MLflow does not support this URI, the database driver is not installed, or the tables belong to
            another MLflow version.
        ModuleNotFoundError: if MLflow is not installed.
        ConnectionError: if the tracker answers with an error or cannot be reached within 5 s.
    """
    uri = absolute_uri(uri)
    file = database_file(uri)
    if file and not file.exists():
        return f"{redacted(uri)}: the first run creates it"
    require_mlflow()
    found = _server(uri) if uri.startswith("http") else _database(uri)
    return f"{redacted(uri)}: {found}"


def _server(uri: str) -> str:
    version = _server_version(uri)
    try:
        experiments = connect(uri).search_experiments(max_results=1000)
    except Exception as error:  # MLflow raises errors of many types
        raise _unreachable(uri, error) from None
    return f"MLflow {version}, {counted(len(experiments), 'experiment')}"


def _server_version(uri: str) -> str:
    """Returns the server's version. This is the first request, because urllib always respects the timeout."""
    try:
        with urllib.request.urlopen(f"{ui_base(uri)}/version", timeout=TIMEOUT_SECONDS) as answer:
            text: str = answer.read(100).decode(errors="replace").strip()
            return text
    except urllib.error.HTTPError:
        return "of unknown version"  # a server with authentication
    except urllib.error.URLError as error:
        raise _unreachable(uri, error.reason) from None
    except OSError as error:  # a timeout while reading
        raise _unreachable(uri, error) from None


def _database(uri: str) -> str:
    from sqlalchemy import create_engine

    try:
        engine = create_engine(uri)
    except ModuleNotFoundError as error:
        package = "'psycopg[binary]'" if uri.startswith("postgresql") else f"its driver, for example {error.name}"
        raise ValueError(
            f"tracking URI {redacted(uri)!r} needs the package {error.name!r}, which is not installed: "
            f"pip install {package}"
        ) from None
    try:
        return _tables(engine, uri)
    except ValueError:
        raise
    except Exception as error:  # every driver has different error types
        raise _unreachable(uri, error) from None
    finally:
        engine.dispose()


def _tables(engine: "Engine", uri: str) -> str:
    import mlflow
    from mlflow.store.db.utils import _get_latest_schema_revision
    from sqlalchemy import inspect, text

    if not inspect(engine).has_table("alembic_version"):
        return "empty, the first run creates the tables"
    with engine.connect() as connection:
        schema = connection.execute(text("select version_num from alembic_version")).scalar()
        expected = _get_latest_schema_revision()  # type: ignore[no-untyped-call]
        if schema != expected:
            raise ValueError(
                f"the database at {redacted(uri)} has schema {schema}, MLflow {mlflow.__version__} expects {expected}; "
                f"back it up, then run: mlflow db upgrade {redacted(uri)}"
            )
        count = connection.execute(text("select count(*) from experiments")).scalar()
    return f"MLflow {mlflow.__version__}, {counted(int(count or 0), 'experiment')}"


def _unreachable(uri: str, error: BaseException | str) -> ConnectionError:
    error = error if isinstance(error, BaseException) else OSError(error)
    return ConnectionError(
        f"the tracker at {redacted(uri)} cannot be used ({reason(error, uri)}); start it, or correct --tracking-uri. "
        "A sweep runs without a tracker, and `ship` fills it later"
    )
