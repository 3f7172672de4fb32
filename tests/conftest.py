"""Settings of every test."""

import gc
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import end_shared_processes, made_once

# Tests run in parallel on few cores, where several threads each would only wait. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the tests that ask for two threads

# By default, Ray lowers the priority of its workers, which would then get almost no time beside other tests.
os.environ.setdefault("RAY_worker_niceness", "0")

# A full garbage collection visits half a million objects of imported packages. At Python's default thresholds, these
# collections took a tenth of the tests' time.
gc.set_threshold(700, 10, 100)

# `nohup` ignores SIGHUP, and the tests and their subprocesses would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def loggers_are_restored() -> Iterator[None]:
    """Removes the handlers that an in-process command installs."""
    log = logging.getLogger("orchestrator")
    level, handlers, propagate = log.level, log.handlers, log.propagate
    yield
    log.setLevel(level)  # also clears the logger's cache
    log.handlers, log.propagate = handlers, propagate


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps decoded data out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the test an empty cache folder for decoded data."""
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's empty tables, which take seconds to create."""

    from orchestrator.tracking.client import connect  # every worker imports this file, but only some need MLflow

    def make(folder: Path) -> None:
        connect(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return made_once(tmp_path_factory, "blank", make) / "mlflow.db"


@pytest.fixture
def uri(tmp_path: Path, blank_database: Path) -> str:
    """A new SQLite tracker with MLflow's tables."""
    shutil.copy(blank_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        end_shared_processes(session.config._tmp_path_factory)  # type: ignore[attr-defined]
