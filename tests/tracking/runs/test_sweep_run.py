"""The report is uploaded to the sweep's run."""

from pathlib import Path

import pytest

from orchestrator.tracking.runs.sweep_run import log_report
from orchestrator.tracking.shipper import ship
from tests.tracking import stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("first")
    (folder / "figure1.svg").write_text("<svg/>")
    return folder


def test_a_report_replaces_an_older_one(tmp_path: Path, uri: str, folder: Path) -> None:
    desired = stored.sweep(seeds=1, epochs=1)
    storage = stored.trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    assert log_report(storage, "toy", uri, folder) == "in MLflow: artifact report/ of run toy"
    (folder / "report.html").write_text("second")
    log_report(storage, "toy", uri, folder)
    shown = stored.assert_shows(uri, storage, desired)
    assert shown.artifact(shown.sweep_run, "report/report.html", tmp_path) == "second"
    assert shown.artifact(shown.sweep_run, "report/figure1.svg", tmp_path) == "<svg/>"


def test_a_tracker_without_the_sweep_is_left_unchanged(tmp_path: Path, uri: str, folder: Path) -> None:
    storage = stored.trained(tmp_path / "results", stored.sweep(seeds=1, epochs=1))
    line = log_report(storage, "toy", uri, folder)
    assert line.startswith("not in MLflow: it has no run of the sweep; ship it first: hessian-dynamics ship toy ")
    absent = tmp_path / "absent.db"
    assert log_report(storage, "toy", f"sqlite:///{absent}", folder).startswith(
        "not in MLflow: the sweep is not shipped"
    )
    assert not absent.exists()


def test_an_unreachable_server_is_reported_in_one_line(tmp_path: Path, folder: Path) -> None:
    storage = stored.trained(tmp_path / "results", stored.sweep(seeds=1, epochs=1))
    assert log_report(storage, "toy", "http://127.0.0.1:9", folder).startswith("not in MLflow: ")
