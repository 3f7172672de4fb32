from pathlib import Path

import pytest

from orchestrator.store.provenance.provenance import capture
from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import absolute_uri, artifact_folder, database_file, secrets_of, ui_base


def test_relative_database_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = absolute_uri("sqlite:///mlflow.db")
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri(uri) == uri
    assert database_file(uri) == tmp_path / "mlflow.db"


def test_uri_options_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///a/b c.db?timeout=30") == f"sqlite:///{tmp_path}/a/b c.db?timeout=30"
    assert database_file(absolute_uri("sqlite:///a/b c.db?timeout=30")) == tmp_path / "a" / "b c.db"


@pytest.mark.parametrize(
    "uri",
    [
        "http://tracker:5000",
        "https://tracker/mlflow",
        "postgresql://me:pw@db/mlflow",
        "postgresql+psycopg://db/mlflow",
        "mysql+pymysql://db/mlflow",
    ],
)
def test_uris_of_servers_and_databases_are_unchanged(uri: str) -> None:
    assert absolute_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("./mlruns", r"'./mlruns' is a folder, which MLflow 3 no longer writes to; expected sqlite:///mlflow.db, .*"),
        ("mlflow.db", r"'mlflow.db' is a folder"),
        ("file:///data/mlruns", r"is a folder, .* for example --tracking-uri sqlite:///mlflow.db"),
        ("ftp://me:secret@host/x", r"'ftp://\*\*\*@host/x' has the unknown scheme 'ftp'; expected sqlite"),
        ("sqlite://", r"'sqlite://': expected sqlite:///mlflow.db, with three slashes"),
        ("sqlite://mlflow.db", r"with three slashes"),
        ("sqlite:///", r"names no file, so nothing would be kept; expected sqlite:///mlflow.db"),
        ("sqlite:///:memory:", r"names no file"),
    ],
)
def test_an_unusable_uri_is_refused_with_the_fix(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        absolute_uri(uri)
    assert "secret" not in str(caught.value)


def test_artifacts_are_stored_beside_the_database(tmp_path: Path) -> None:
    assert artifact_folder(f"sqlite:///{tmp_path}/x/mlflow.db", Path("/storage")) == f"file://{tmp_path}/x/mlartifacts"
    assert artifact_folder("postgresql://db/mlflow", Path("/storage")) == "file:///storage/mlartifacts"
    assert artifact_folder("http://tracker:5000", Path("/storage")) is None


def test_the_ui_address_has_no_credentials() -> None:
    assert ui_base("https://me:pw@host:8443/mlflow/") == "https://host:8443/mlflow"
    assert ui_base("sqlite:////x/mlflow.db") == ui_base("postgresql://db/mlflow") == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:pw@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://me:p@w@db/mlflow", "postgresql://***@db/mlflow"),
        ("run x --tracking-uri 'http://me:pw@h' --storage r", "run x --tracking-uri 'http://***@h' --storage r"),
        ("postgresql://db/x?user=me&password=pw&ssl=1", "postgresql://db/x?user=me&password=***&ssl=1"),
        ("http://host/a b@c", "http://host/a b@c"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_only_credentials_are_redacted(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_password_is_returned_encoded_and_decoded() -> None:
    assert secrets_of("http://me:p%40w@host") == ("p%40w", "p@w")
    assert secrets_of("http://host") == ()


def test_the_command_in_the_provenance_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/hessian-dynamics", "run", "x", "--tracking-uri", "http://me:pw@host"])
    assert capture().command == "hessian-dynamics run x --tracking-uri http://***@host"
