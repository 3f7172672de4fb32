"""One-line descriptions of trackers."""

import socket
import sqlite3
import sys
from pathlib import Path

import mlflow
import pytest

from orchestrator.tracking import describe
from orchestrator.tracking.describe import describe_tracker
from tests.tracking.processes import free_port


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    assert (
        describe_tracker(f"sqlite:///{tmp_path}/mlflow.db")
        == f"sqlite:///{tmp_path}/mlflow.db: the first run creates it"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_described_and_left_unchanged(uri: str) -> None:
    file = Path(uri.removeprefix("sqlite:///"))
    before = file.read_bytes()
    assert describe_tracker(uri) == f"{uri}: MLflow {mlflow.__version__}, 1 experiment"
    assert file.read_bytes() == before


def test_an_empty_file_gets_its_tables_from_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    assert describe_tracker(f"sqlite:///{tmp_path}/new.db").endswith(": empty, the first run creates the tables")
    assert (tmp_path / "new.db").read_bytes() == b""


def test_tables_of_another_version_are_refused_with_the_fix(uri: str) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.execute("update alembic_version set version_num = 'of-old'")
    with pytest.raises(ValueError, match=r"has schema of-old, MLflow .* expects .*: mlflow db upgrade sqlite:///"):
        describe_tracker(uri)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(ConnectionError, match=r"cannot be used \(.*file is not a database"):
        describe_tracker(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, which MLflow 3 no longer writes to"):
        describe_tracker(str(tmp_path))


def test_a_server_is_described_by_version_and_experiments(server: str) -> None:
    assert describe_tracker(server).startswith(f"{server}: MLflow {mlflow.__version__}, ")
    assert describe_tracker(server).rstrip("s").endswith(" experiment")


def test_an_unreachable_server_is_named_without_the_password() -> None:
    port = free_port()
    with pytest.raises(ConnectionError) as caught:
        describe_tracker(f"http://me:geheim@127.0.0.1:{port}")
    said = str(caught.value)
    assert f"the tracker at http://***@127.0.0.1:{port} cannot be used ([Errno 111] Connection refused)" in said
    assert "start it, or correct --tracking-uri. A sweep runs without a tracker, and `ship` fills it later" in said
    assert "geheim" not in said


def test_a_silent_server_is_given_up_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe.TIMEOUT_SECONDS == 5.0
    monkeypatch.setattr(describe, "TIMEOUT_SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectionError, match="timed out"),
    ):
        describe_tracker(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_missing_database_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    said = r"needs the package 'psycopg\w*', which is not installed: pip install 'psycopg"
    with pytest.raises(ValueError, match=said):
        describe_tracker("postgresql://me:geheim@127.0.0.1:9/mlflow")


def test_without_mlflow_the_error_names_the_package(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hessian-dynamics\[sweep\]'"):
        describe_tracker(uri)
