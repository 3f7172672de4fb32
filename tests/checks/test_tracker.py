"""The check of the tracker."""

import sys
from pathlib import Path

import pytest

from orchestrator.checks.finding import Severity, ok
from orchestrator.checks.tracker import check_tracker


def test_a_database_that_does_not_exist_yet_is_ok(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert check_tracker(uri) == ok("tracker", f"{uri}: the first run creates it")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_a_problem() -> None:
    finding = check_tracker("http://127.0.0.1:9")
    assert finding.severity is Severity.PROBLEM
    assert "Connection refused" in finding.text


def test_a_missing_mlflow_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    finding = check_tracker("http://127.0.0.1:9")
    assert finding.severity is Severity.WARNING
    assert finding.text.endswith("install it with: pip install 'hessian-dynamics[sweep]'; sweeps run without MLflow")
