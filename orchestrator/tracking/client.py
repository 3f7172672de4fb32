"""The one door to MLflow: imported late, quiet, and quick to say that the tracker is away."""

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking import rate_limit
from orchestrator.tracking.address import database_file, secrets_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    # MLflow's own 7 retries take four minutes a call. The shipper retries itself, and after looking what is there:
    # a create_run that MLflow repeats on its own makes a second run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PGCONNECT_TIMEOUT": "5",
}


def connect(uri: str) -> "MlflowClient":
    """A client of the tracker at an absolute URI. A SQLite file that does not exist is made, with its tables.

    Raises:
        ModuleNotFoundError: naming what to install, where MLflow is not.
    """
    require_mlflow()
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 1  # 10 tries of a database that is away take 100 seconds
    rate_limit.listen()
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    file = database_file(uri)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=uri)
    if file:
        _use_the_file_that_is_there(client, file)
    return client


def require_mlflow() -> None:
    """Imports MLflow with settings fit for a process that must not hang.

    Raises:
        ModuleNotFoundError: naming what to install, where MLflow is not.
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


def _use_the_file_that_is_there(client: "MlflowClient", file: Path) -> None:
    """MLflow keeps its connections of a process, and with them a file that was deleted since."""
    from mlflow.store.db import utils

    store: Any = client._tracking_client.store
    store.engine.dispose()
    if not file.exists() or file.stat().st_size == 0:
        utils._initialize_tables(store.engine)  # type: ignore[no-untyped-call]


def unanswered(error: BaseException, uri: str) -> bool:
    """Whether a server may still carry out the request that failed: it may have it, and has not said no.

    A proxy or a busy server hands a request on long after its client has given up. A database does not.
    """
    from mlflow.exceptions import MlflowException, RestException

    if not uri.startswith("http") or not isinstance(error, MlflowException | OSError):
        return False
    if isinstance(error, RestException):
        return int(error.get_http_status_code()) >= 500  # type: ignore[no-untyped-call]
    return not re.search(r"NewConnectionError|Connection refused|too many 429|error code 4\d\d", str(error))


def lost(error: BaseException) -> bool:
    """Whether a tracker answered that it does not know what it was asked to change."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def refused(error: BaseException) -> bool:
    """Whether a tracking server answered, and said no."""
    from mlflow.exceptions import RestException

    return isinstance(error, RestException)


def reason(error: BaseException, uri: str) -> str:
    """What went wrong with the tracker at `uri`, in one short line without credentials."""
    text = str(error) or type(error).__name__
    if (cause := re.findall(r"Caused by \w+\((.*)", text)) and cause[-1]:
        text = cause[-1].rpartition(": ")[2].strip("()'\" ")
        text += ")" * (text.count("(") - text.count(")"))
    text = redacted(text.strip().partition("\n")[0])
    for secret in secrets_of(uri):
        text = text.replace(secret, "***")
    return text if len(text) <= 200 else f"{text[:197]}..."
