"""Commands that compute: their results, and errors reported before anything starts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.scheduling.forecast.estimate import missing_records
from orchestrator.scheduling.forecast.probe import ProbeResult
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, load_sweep
from orchestrator.training.cost import RecordPart
from tests.cli.command import SMALL, Command, write
from tests.scheduling.inline import use_inline_engine

FIRST = next(iter(load_sweep("quickstart").by_id))


@pytest.fixture
def known_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the probe report one second for every part of an epoch."""

    def probe(parts: Sequence[RecordPart], processes: int, resources: Resources) -> ProbeResult:
        return ProbeResult(dict.fromkeys(parts, 1.0), 1.0)

    monkeypatch.setattr("orchestrator.scheduling.forecast.estimate.probe", probe)


def test_help_explains_the_commands(run: Command, tmp_path: Path) -> None:
    shown = run("--help").stdout
    for word in ("plan", "run", "trial", "status", "ship", "measure", "doctor", "quickstart"):
        assert word in shown
    assert "Ctrl-C" in run("run", "--help").stdout


def test_all_errors_of_a_sweep_file_are_reported_together(run: Command, tmp_path: Path) -> None:
    bad = {**SMALL, "grid": {"optimizer.lr": [-0.1], "seed": ["x"]}, "resource": {}}
    done = run("run", write(tmp_path, bad))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "3 problems, nothing was started" in done.stderr
    assert "grid: optimizer.lr = -0.1: must be greater than 0" in done.stderr
    assert "resource = {}: unknown key; did you mean 'resources'?" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "quickstrat"], "no sweep is named 'quickstrat'; give a path to a .yaml file or one of: "),
        (["run", "./none.yaml"], "sweep file './none.yaml' does not exist"),
        (["run", "quickstart", "--set", "lr"], "--set 'lr': expected key=value"),
        (["run", "quickstart", "--set", "optimizer.lr=fast"], "grid: optimizer.lr = 'fast': must be a number"),
        (["run", "quickstart", "--tracking-uri", "./mlruns"], "is a folder, which MLflow 3 no longer writes to"),
        (["run", "quickstart", "--storage", "small.yaml/x"], "cannot be written"),
        (["trial", "quickstart", "zzz"], "id 'zzz' matches no trial of sweep 'quickstart'; expected one of:"),
        (["trial", "quickstart", ""], "'' matches"),
        (["trial", "quickstart", FIRST, "--compare"], "no stored records to compare with; run the sweep first"),
        (["ship", "quickstart"], "has no sweep 'quickstart'; it has: none"),
        (["measure", "quickstart"], "has no sweep 'quickstart'; it has: none"),
        (["measure", "quickstart", "--tracking-uri", "./mlruns"], "is a folder, which MLflow 3 no longer writes to"),
        (
            ["measure", "quickstart", "--every", "0"],
            "Invalid value for '--every': Input should be greater than or equal to 1",
        ),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_with_a_fix(
    run: Command, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    write(tmp_path, SMALL)
    done = run(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


def test_several_matching_ids_are_listed(run: Command, tmp_path: Path) -> None:
    sweep = write(
        tmp_path, {**SMALL, "grid": {"seed": list(range(17))}}
    )  # at least two of 17 ids start with the same character
    begins: dict[str, list[str]] = {}
    for trial_id in load_sweep(sweep).by_id:
        begins.setdefault(trial_id[0], []).append(trial_id)
    first, matches = max(begins.items(), key=lambda item: len(item[1]))
    done = run("trial", sweep, first)
    assert done.returncode == 2
    assert f"id {first!r} matches {len(matches)} trials of sweep 'small'" in done.stderr
    assert all(trial_id in done.stderr for trial_id in matches)


def test_missing_data_is_an_error_before_anything_is_scheduled(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "data": {"name": "image_folder", "path": "gone"}}})  # type: ignore[dict-item]
    done = run("run", sweep, "--engine", "local")
    assert done.returncode == 2
    assert f"data folder {str(tmp_path / 'gone')!r} does not exist" in done.stderr
    assert not (tmp_path / "results" / "trials").exists()


def test_a_bug_in_the_users_code_is_shown_without_the_code_that_calls_it(run: Command, tmp_path: Path) -> None:
    (tmp_path / "buggy_losses.py").write_text("def loss(outputs, targets):\n    return outputs / undefined\n")
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "loss": "buggy_losses:loss"}})  # type: ignore[dict-item]
    done = run("run", sweep, "--engine", "local")
    assert done.returncode == 2
    first, place, code, *_, message = [
        line for line in done.stderr.splitlines() if "~~" not in line and "^^" not in line
    ]
    assert first == "Traceback (most recent call last):"
    assert f'"{tmp_path / "buggy_losses.py"}", line 2' in place
    assert code.strip() == "return outputs / undefined"
    assert message.startswith(
        "error: loss 'buggy_losses:loss' raised when called with outputs (2, 10) and targets (2,): Na"
    )
    assert not (tmp_path / "results" / "trials").exists()


@pytest.mark.usefixtures("known_times")
def test_overridden_resources_open_the_same_sweep(run: Command, tmp_path: Path) -> None:
    sweep, overrides = write(tmp_path, SMALL), ("--set", "resources.cpu=2", "--set", "description=two cores")
    assert "small: 0 of 2 trials done" in run("plan", sweep, *overrides).stdout
    former = replace(load_sweep(sweep), name="small-6325d3")  # as version 0.1 named it
    Storage(tmp_path / "results").sweep(former.name).write_manifest(former, capture())
    assert "small-6325d3: 0 of 2 trials done" in run("plan", sweep, *overrides).stdout
    assert "small: 0 of 2 trials done" in run("plan", sweep, *overrides[:2]).stdout


@pytest.mark.usefixtures("known_times")
def test_plan_shows_missing_records(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    shown = run("plan", sweep).stdout
    desired = load_sweep(sweep)
    assert all(trial_id in shown for trial_id in desired.by_id)
    assert "small: 0 of 2 trials done, 4 epochs missing" in shown
    assert reconcile(desired, Storage(tmp_path / "results")).todo == list(desired.by_id)


@pytest.mark.usefixtures("known_times")
def test_a_sweep_that_overrides_defined_is_found_by_its_name(run: Command, tmp_path: Path) -> None:
    defined = load_sweep(write(tmp_path, SMALL), ["optimizer.lr=0.3"])
    name, first = defined.name, next(iter(defined.by_id))
    assert re.fullmatch(r"small-[0-9a-f]{6}", name)
    assert f"no sweep is named {name!r}" in run("trial", name, first).stderr
    Storage(tmp_path / "results").sweep(name).write_manifest(defined, capture())
    done = run("trial", name, first, "--adopt")
    assert done.returncode == 0, done.stderr
    for command in ("plan", "status"):
        assert f"{name}: 1 of 2 trials done, 2 epochs missing" in run(command, name).stdout
    refused = run("trial", name, first, "--set", "seed=1")
    assert refused.returncode == 2
    assert f"sweep {name!r} is stored but has no file in sweeps/, so --set cannot change it" in refused.stderr


def test_an_adopted_trial_counts_as_done(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    first = next(iter(load_sweep(sweep).by_id))
    alone = run("trial", sweep, first[:6])
    assert alone.returncode == 0
    assert "epoch   1  loss" in alone.stdout
    assert not (tmp_path / "results").exists()
    assert run("trial", sweep, first, "--adopt").returncode == 0
    assert "small: 1 of 2 trials done, 2 epochs missing" in run("status", sweep).stdout
    compared = run("trial", sweep, first, "--compare")
    assert compared.returncode == 0
    assert "identical: all " in compared.stdout
    both = run("trial", sweep, first, "--compare", "--adopt")
    assert both.returncode == 2
    assert "--compare and --adopt are both given" in both.stderr


@pytest.mark.usefixtures("known_times")
def test_plan_shows_the_time_and_run_computes_what_it_showed(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    first, second = load_sweep(sweep).by_id
    shown = run("plan", sweep, "--engine", "local").stdout
    assert re.search(r"about \d+ s on this machine, \d trials? at a time \(probe: \d+ s\)", shown)
    assert "time: training 20%, evaluating 40%, measuring 40% of 10 s (trial time)" in shown
    assert not (tmp_path / "results").exists()
    storage = Storage(tmp_path / "results")
    assert run("trial", sweep, first, "--adopt").returncode == 0
    longer = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "epochs": 3}})  # type: ignore[dict-item]
    planned = missing_records(reconcile(load_sweep(longer), storage))
    assert planned == {first: range(2, 4), second: range(4)}
    before = {trial_id: storage.trial(trial_id).numbers() for trial_id in planned}
    assert "6 epochs missing" in run("plan", longer, "--max-concurrent", "1").stdout
    use_inline_engine(run.monkeypatch)
    done = run("run", longer, "--engine", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time: training " in done.stdout
    computed = {key: sorted(set(storage.trial(key).numbers()) - set(before[key])) for key in planned}
    assert computed == {trial_id: list(epochs) for trial_id, epochs in planned.items()}
    begun = [storage.trial(trial_id).attempts()[-1].first_record for trial_id in planned]
    assert begun == [2, 0]
    again = run("plan", longer)
    assert "small: 2 of 2 trials done" in again.stdout
    assert "probe" not in again.stdout
    assert "time: training " in run("status", longer).stdout


def test_plan_lists_user_code_before_running_it(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "model": {"name": "talkative:Net"}}})  # type: ignore[dict-item]
    (tmp_path / "talkative.py").write_text("print('imported', flush=True)\n1 / 0\n")
    done = run("plan", sweep, "--max-concurrent", "1")
    assert done.returncode == 0
    assert "runs your code: talkative:Net (2 trials)" in done.stdout
    assert "time unknown: " in done.stdout
    before, _, _ = done.stdout.partition("imported")
    assert "runs your code" in before


def test_plan_of_missing_data_still_shows_the_trials(run: Command, tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "data": {"name": "image_folder", "path": "gone"}}})  # type: ignore[dict-item]
    done = run("plan", sweep)
    assert done.returncode == 0
    assert "small: 0 of 2 trials done, 4 epochs missing" in done.stdout
    assert f"time unknown: data folder {str(tmp_path / 'gone')!r} does not exist" in done.stdout


def test_an_exception_of_the_users_code_is_shown_with_its_traceback(run: Command, tmp_path: Path) -> None:
    (tmp_path / "failing_data.py").write_text("def load():\n    return {}['my key']\n")
    trial = {**SMALL["trial"], "data": {"name": "failing_data:load"}}
    path = write(tmp_path, {**SMALL, "trial": trial, "resources": {"gpu": 0}})
    done = run("run", path, "--storage", "results", "--tracking-uri", "sqlite:///mlflow.db", "--engine", "local")
    assert done.returncode == 2
    assert "return {}['my key']" in done.stderr
    assert "data 'failing_data:load' raised when called: KeyError: 'my key'" in done.stderr
    assert not (tmp_path / "results" / "trials").exists()
