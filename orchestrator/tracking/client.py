"""Connects to MLflow and classifies its errors. MLflow is imported lazily."""

import logging
import os
import re
from typing import TYPE_CHECKING, Any

from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import database_file, secrets_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    # MLflow's 7 retries take four minutes per call, and a repeated create_run may create a second run.
    # Instead, the shipper retries whole rounds and looks up the existing runs first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PGCONNECT_TIMEOUT": "5",
}


def connect(uri: str) -> "MlflowClient":
    """Returns a client for an absolute tracking URI. Creates a missing SQLite file with its tables.

    Raises:
        ModuleNotFoundError: if MLflow is not installed.
    """
    require_mlflow()
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    from orchestrator.tracking.retry_after import record_retry_after

    utils.MAX_RETRY_COUNT = 1  # the default of 10 blocks for 100 s if the database is unreachable
    record_retry_after()
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    file = database_file(uri)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=uri)
    if file:
        # MLflow caches connections per process and keeps those to a file that was deleted since.
        store: Any = client._tracking_client.store
        store.engine.dispose()
        if not file.exists() or file.stat().st_size == 0:
            utils._initialize_tables(store.engine)  # type: ignore[no-untyped-call]
    return client


def require_mlflow() -> None:
    """Imports MLflow with short timeouts and without retries.

    Raises:
        ModuleNotFoundError: if MLflow is not installed; the message names the command that installs it.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"shipping to MLflow needs the package {error.name!r}, which is not installed; "
            "install it with: pip install 'hessian-dynamics[sweep]'",
            name=error.name,
        ) from None


def unanswered(error: BaseException, uri: str) -> bool:
    """Returns whether a failed request may still be carried out.

    A server or proxy may process a request long after the client timed out, unless it rejected or never received the
    request. A database does not.
    """
    from mlflow.exceptions import MlflowException, RestException

    if not uri.startswith("http") or not isinstance(error, MlflowException | OSError):
        return False
    if isinstance(error, RestException):
        return int(error.get_http_status_code()) >= 500  # type: ignore[no-untyped-call]
    return not re.search(r"NewConnectionError|Connection refused|too many 429|error code 4\d\d", str(error))


def missing_resource(error: BaseException) -> bool:
    """Returns whether the tracker answered that the run or experiment does not exist."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def refused(error: BaseException) -> bool:
    """Returns whether a tracking server answered with an error, or MLflow rejected a name or value."""
    from mlflow.exceptions import MlflowException, RestException

    invalid = isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE"
    return invalid or isinstance(error, RestException)


def reason(error: BaseException, uri: str) -> str:
    """Returns the message of a tracker's error as one line of at most 200 characters, without credentials."""
    text = str(error) or type(error).__name__
    if (cause := re.findall(r"Caused by \w+\((.*)", text)) and cause[-1]:
        text = cause[-1].rpartition(": ")[2].strip("()'\" ")
        text += ")" * (text.count("(") - text.count(")"))
    text = redacted(text.strip().partition("\n")[0])
    for secret in secrets_of(uri):
        text = text.replace(secret, "***")
    return text if len(text) <= 200 else f"{text[:197]}..."
