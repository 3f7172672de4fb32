"""A look at a tracker."""

import socket
import sqlite3
import sys
import time
from pathlib import Path

import mlflow
import pytest

from orchestrator.tracking.look import look
from tests.tracking.processes import free_port


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert look(f"sqlite:///{tmp_path}/mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db: the first run makes it"
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_counted_and_left_as_it_is(uri: str) -> None:
    file = Path(uri.removeprefix("sqlite:///"))
    before = file.read_bytes()
    assert look(uri) == f"{uri}: MLflow {mlflow.__version__}, 1 experiment"
    assert file.read_bytes() == before


def test_an_empty_file_gets_its_tables_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    assert look(f"sqlite:///{tmp_path}/new.db").endswith(": empty, the first run makes the tables")
    assert (tmp_path / "new.db").read_bytes() == b""


def test_tables_of_another_version_are_refused_with_the_way_out(uri: str) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        database.execute("update alembic_version set version_num = 'of-old'")
    with pytest.raises(ValueError, match=r"has schema of-old, MLflow .* expects .*: mlflow db upgrade sqlite:///"):
        look(uri)


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(ConnectionError, match=r"cannot be used \(.*file is not a database"):
        look(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, which MLflow 3 no longer writes to"):
        look(str(tmp_path))


def test_a_server_tells_its_version_and_is_counted(server: str) -> None:
    assert look(server).startswith(f"{server}: MLflow {mlflow.__version__}, ")
    assert look(server).rstrip("s").endswith(" experiment")


def test_nobody_there_is_said_without_the_password() -> None:
    port = free_port()
    with pytest.raises(ConnectionError) as caught:
        look(f"http://me:geheim@127.0.0.1:{port}")
    said = str(caught.value)
    assert f"the tracker at http://***@127.0.0.1:{port} cannot be used ([Errno 111] Connection refused)" in said
    assert "start it, or correct --tracking-uri. A run goes on without it, and `ship` fills it later" in said
    assert "geheim" not in said


def test_a_server_that_says_nothing_is_given_up_after_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="timed out"):
            look(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert 4 < time.monotonic() - began < 9


def test_a_database_without_its_driver_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    said = r"needs the package 'psycopg\w*', which is not installed: pip install 'psycopg"
    with pytest.raises(ValueError, match=said):
        look("postgresql://me:geheim@127.0.0.1:9/mlflow")


def test_without_mlflow_it_says_what_to_install(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hessian-dynamics\[sweep\]'"):
        look(uri)
