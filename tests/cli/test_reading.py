"""Commands that read: export, report, doctor."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.tracking.client import connect
from orchestrator.tracking.shipper import ship
from tests.cli.command import Command
from tests.tracking import stored


@pytest.fixture
def shipped(tmp_path: Path, uri: str) -> tuple[list[str], Path]:
    storage = stored.trained(tmp_path / "results", stored.sweep(seeds=2, epochs=4))
    ship(storage, "toy", uri)
    return ["--storage", str(storage.root), "--tracking-uri", uri], storage.root / "sweeps" / "toy"


def _command(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_export_and_report_from_store_and_mlflow_are_equal(shipped: tuple[list[str], Path], tmp_path: Path) -> None:
    where, folder = shipped
    assert "340 points of 4 trials, 20 epochs" in _command("export", "toy", *where)
    _command("export", "toy", *where, "--from", "mlflow", "--to", str(tmp_path / "other"))
    for name in ("epochs", "trials", "samples"):
        ours, theirs = (pd.read_parquet(at / f"{name}.parquet") for at in (folder / "export", tmp_path / "other"))
        pd.testing.assert_frame_equal(ours, theirs)

    said = _command("report", "toy", *where, "--by", "optimizer.lr")
    assert "conjecture 1: not enough data. With 4 trials" in said
    assert "in MLflow: artifact report/ of run toy" in said
    page = folder / "report" / "report.html"
    assert str(page) in said
    assert "make report SWEEP=toy BY=optimizer.lr" in page.read_text()
    first = (folder / "report" / "table1.csv").read_bytes()
    _command("report", "toy", *where, "--from", "mlflow")
    assert (folder / "report" / "table1.csv").read_bytes() == first


def test_export_writes_csv_and_event_files(shipped: tuple[list[str], Path]) -> None:
    where, folder = shipped
    said = _command("export", "toy", *where, "--format", "csv")
    assert str(folder / "export" / "epochs.csv") in said
    assert len(pd.read_csv(folder / "export" / "epochs.csv")) == 20
    said = _command("export", "toy", *where, "--format", "tensorboard")
    assert str(folder / "export" / "tensorboard") in said
    assert len(list((folder / "export" / "tensorboard").glob("*/events.out.tfevents.*"))) == 4
    refused = CliRunner().invoke(app, ["export", "toy", *where, "--format", "tensorboard", "--from", "mlflow"])
    assert "are written from the storage; remove --from mlflow" in str(refused.exception)


FILE = """\
name: toy
trial: {data: {name: digits}, optimizer: {name: sgd, lr: 0.01}, epochs: 4}
grid: {optimizer.lr: [0.01, 0.05], seed: [0, 1]}
expect:
"""


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("  - {quantity: loss/train, over: last record, at_least: 0, at_most: 100}", 0, "1 reproduced"),
        ("  - {quantity: loss/train, over: last record, at_least: 100}", 1, "1 not reproduced"),
        ("  - {quantity: loss/train, over: last record, at_least: 0, seeds: 3}", 3, "1 not enough data"),
    ],
)
def test_check_judges_by_the_file_and_reports_the_outcome(
    shipped: tuple[list[str], Path], tmp_path: Path, line: str, code: int, said: str
) -> None:
    where, _ = shipped
    file = tmp_path / "toy.yaml"
    file.write_text(f"{FILE}{line}\n")
    result = CliRunner().invoke(app, ["check", str(file), *where])
    assert result.exit_code == code, result.output
    first, *_, last = result.output.strip().split("\n")
    assert first.startswith(said.removeprefix("1 "))
    assert last == said
    from_mlflow = CliRunner().invoke(app, ["check", str(file), *where, "--from", "mlflow"])
    assert (from_mlflow.exit_code, from_mlflow.output) == (code, result.output)


def test_check_without_expectations_fails(shipped: tuple[list[str], Path]) -> None:
    where, _ = shipped
    result = CliRunner().invoke(app, ["check", "toy", *where])
    assert result.exit_code != 0
    assert "sweep 'toy' states no expectations; add expect: to its file" in str(result.exception)


def test_report_sets_a_tag_with_the_outcomes(shipped: tuple[list[str], Path], tmp_path: Path, uri: str) -> None:
    where, _ = shipped
    file = tmp_path / "toy.yaml"
    file.write_text(f"{FILE}  - {{quantity: loss/train, over: last record, at_least: 0}}\n")
    _command("report", str(file), *where)
    client = connect(uri)
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")
    assert run.data.tags["expectations"] == "1 reproduced"


def test_report_of_a_sweep_that_was_never_run_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "quickstart", "--storage", str(tmp_path)])
    assert result.exit_code != 0
    assert "has no sweep 'quickstart'" in str(result.exception)


def test_the_doctor_exits_with_1_if_there_is_a_problem(run: Command, tmp_path: Path) -> None:
    well = run("doctor", "quickstart")
    assert well.returncode == 0, well.stdout + well.stderr
    assert well.stdout.rstrip().endswith(" 0 problems")
    assert list(tmp_path.iterdir()) == []
    ill = run("doctor", "--tracking-uri", "http://me:geheim@127.0.0.1:9", RAY_ADDRESS="127.0.0.1:9")
    assert ill.returncode == 1
    assert ill.stdout.rstrip().endswith(" 2 problems")
    assert "geheim" not in ill.stdout + ill.stderr


def test_an_export_without_epochs_fails(run: Command, tmp_path: Path, uri: str) -> None:
    storage = stored.manifest(tmp_path / "results", stored.sweep())
    ship(storage, "toy", uri)
    where = ("--storage", str(storage.root), "--tracking-uri", uri)
    messages = {
        "store": "sweep 'toy' has no records in the storage; run it first: hessian-dynamics run toy",
        "mlflow": "sweep 'toy' has no records in the tracker; ship it first: hessian-dynamics ship toy",
    }
    for source, message in messages.items():
        done = run("export", "toy", *where, "--from", source, "--to", str(tmp_path / "tables"))
        assert done.returncode == 2
        assert message in done.stderr
        assert not (tmp_path / "tables").exists()
