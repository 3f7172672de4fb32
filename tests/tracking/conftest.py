"""One real tracking server per session, one database per test."""

import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.tracking.client import connect
from tests.tracking.processes import LineHandler, free_port, start_server, stop_server, wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("server"), port)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: healthy(uri), 60)
        yield uri
    finally:
        stop_server(process)


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's empty tables, which take seconds to create."""
    database = tmp_path_factory.mktemp("blank") / "mlflow.db"
    connect(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def uri(tmp_path: Path, blank_database: Path) -> str:
    """A SQLite tracker for one test."""
    shutil.copy(blank_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The messages that tracking logs in this process."""
    handler = LineHandler([])
    log = logging.getLogger("orchestrator")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)
    log.setLevel(level)


def healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
