"""The Python interface: a sweep from its definition to its judgement, without the command line."""

import json
from pathlib import Path

import pytest

import orchestrator
from orchestrator import check, define_sweep, frames, load_sweep, measure, plan, report, run, status
from orchestrator.study.sweep_file_error import SweepFileError
from tests.cli.command import SMALL, Command, write
from tests.tracking import stored

EXPECT = [{"quantity": "loss/train", "over": "last record", "at_least": 0, "at_most": 100}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_sweep_from_definition_to_judgement(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = define_sweep(**SMALL, expect=EXPECT, keep_checkpoints="all")  # type: ignore[arg-type]
    first, *rest = repr(sweep).splitlines()
    assert first == "sweep small: 2 trials"
    assert [line.split() for line in rest] == [[trial.trial_id, f"seed={trial.seed}"] for trial in sweep.trials]

    planned = plan(sweep, engine="local")
    assert "small: 0 of 2 trials done, 4 epochs missing" in repr(planned)
    assert "on this machine, 2 trials at a time" in repr(planned)
    assert f"<td>{sweep.trials[0].trial_id}</td><td>seed=0</td><td>pending</td>" in planned._repr_html_()
    assert list(folder.iterdir()) == []

    done = run(sweep, engine="local")
    assert repr(done) == "small: 2 of 2 trials done"
    assert done.todo == []
    printed = capsys.readouterr().out
    assert "small: 2 of 2 trials done" in printed
    assert "curves: " in printed

    assert "driver: none running" in repr(status("small"))
    found = frames(sweep)
    assert repr(found) == f"frames of sweep small: 2 trials, 4 records, {found.points} values"
    assert list(found.epochs.trial_id.unique()) == list(sweep.by_id)
    assert frames("small", from_mlflow=True).epochs.equals(found.epochs)

    again = measure(sweep, {"measurement.lanczos_products": 3}, engine="local")
    assert again.measured == 4
    assert "lanczos_products-3/hessian_lambda_max" in frames(sweep).epochs

    judgements = check(sweep)
    assert repr(judgements).splitlines()[-1] == "1 reproduced"
    written = report(sweep)
    assert written.page.exists()
    assert "1 reproduced" in repr(written)


def test_a_definition_gives_the_trials_of_a_file(folder: Path, run: Command) -> None:
    path = write(folder, SMALL)
    loaded = load_sweep(path)
    defined = define_sweep(**SMALL)  # type: ignore[arg-type]
    assert defined == loaded
    changed = load_sweep(path, {"seed": [3], "optimizer": {"name": "adam", "lr": 1e-5}})
    assert [(trial.seed, trial.optimizer.lr) for trial in changed.trials] == [(3, 1e-5)]  # type: ignore[union-attr]
    assert changed.name.startswith("small-")
    shown = run("plan", path, "--set", "seed=[3]", "--set", "optimizer={name: adam, lr: 1e-5}")
    assert changed.trials[0].trial_id in shown.stdout


def test_a_definition_reports_all_issues() -> None:
    content = json.loads(json.dumps(SMALL))
    content["trial"] |= {"epochs": 0, "colour": "red"}
    with pytest.raises(SweepFileError) as caught:
        define_sweep(**content)
    assert str(caught.value).startswith("sweep 'small': 2 problems, nothing was started")


def test_the_public_names_exist_and_others_do_not() -> None:
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'orchestrator' has no attribute 'sweep_up'"):
        _ = orchestrator.sweep_up


def test_a_sweep_without_expectations_cannot_be_judged(tmp_path: Path) -> None:
    storage = stored.trained(tmp_path / "results", stored.sweep(seeds=1, epochs=1))
    with pytest.raises(ValueError, match="sweep 'toy' states no expectations"):
        check("toy", str(storage.root))
