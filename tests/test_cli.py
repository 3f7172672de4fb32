"""The command line: what it says of bad input, and that it says it before anything is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.scheduling.estimate import missing_epochs
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep

COMMAND = [str(Path(sys.executable).with_name("hessian-dynamics"))]
SMALL = {
    "name": "small",
    "trial": {
        "data": {"name": "digits"},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "epochs": 1,
        "measurement": {"fraction": 0.02, "lanczos_products": 2, "algorithm1_iterations": 2, "algorithm1_probes": 2},
    },
    "grid": {"seed": [0, 1]},
}
FIRST = next(iter(load_sweep("quickstart").by_id))


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )


def before_all_others(folder: Path) -> str:
    """A PYTHONPATH."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def write(folder: Path, content: object, name: str = "small.yaml") -> str:
    (folder / name).write_text(yaml.safe_dump(content) if not isinstance(content, str) else content)
    return str(folder / name)


def test_help_teaches(tmp_path: Path) -> None:
    shown = command(tmp_path, "--help").stdout
    for word in ("plan", "run", "trial", "status", "ship", "measure", "doctor", "quickstart"):
        assert word in shown
    assert "Ctrl-C" in command(tmp_path, "run", "--help").stdout


def test_a_bad_sweep_file_says_everything_at_once_and_starts_nothing(tmp_path: Path) -> None:
    bad = {**SMALL, "grid": {"optimizer.lr": [-0.1], "seed": ["x"]}, "resource": {}}
    done = command(tmp_path, "run", write(tmp_path, bad))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "3 problems, nothing was started" in done.stderr
    assert "grid: optimizer.lr = -0.1: must be greater than 0" in done.stderr
    assert "resource = {}: unknown key; did you mean 'resources'?" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "quickstrat"], "no sweep is named 'quickstrat'; give a path to a .yaml file or one of: "),
        (["run", "./none.yaml"], "sweep file './none.yaml' does not exist"),
        (["run", "quickstart", "--set", "lr"], "--set 'lr': expected key=value"),
        (["run", "quickstart", "--set", "optimizer.lr=fast"], "grid: optimizer.lr = 'fast': must be a number"),
        (["run", "quickstart", "--tracking-uri", "./mlruns"], "is a folder, which MLflow 3 no longer writes to"),
        (["run", "quickstart", "--storage", "small.yaml/x"], "cannot be written"),
        (["trial", "quickstart", "zzz"], "'zzz' matches no trial of sweep 'quickstart'; give enough of one id"),
        (["trial", "quickstart", ""], "'' matches"),
        (["trial", "quickstart", FIRST, "--compare"], "no stored epochs to compare with; run the sweep first"),
        (["ship", "quickstart"], "has no sweep 'quickstart'; it has: none"),
        (["measure", "quickstart"], "has no sweep 'quickstart'; it has: none"),
        (["measure", "quickstart", "--tracking-uri", "./mlruns"], "is a folder, which MLflow 3 no longer writes to"),
        (
            ["measure", "quickstart", "--every", "0"],
            "Invalid value for '--every': Input should be greater than or equal to 1",
        ),
    ],
)
def test_bad_arguments_get_a_line_that_says_what_to_do(tmp_path: Path, arguments: list[str], said: str) -> None:
    write(tmp_path, SMALL)
    done = command(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


def test_several_matching_ids_are_listed(tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "grid": {"seed": list(range(17))}})  # of 17 ids two begin alike
    begins: dict[str, list[str]] = {}
    for trial_id in load_sweep(sweep).by_id:
        begins.setdefault(trial_id[0], []).append(trial_id)
    first, matches = max(begins.items(), key=lambda item: len(item[1]))
    done = command(tmp_path, "trial", sweep, first)
    assert done.returncode == 2
    assert f"{first!r} matches {len(matches)} trials of sweep 'small'" in done.stderr
    assert all(trial_id in done.stderr for trial_id in matches)


def test_missing_data_is_said_before_anything_is_scheduled(tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "data": {"name": "image_folder", "path": "gone"}}})  # type: ignore[dict-item]
    done = command(tmp_path, "run", sweep, "--engine", "local")
    assert done.returncode == 2
    assert f"data folder {str(tmp_path / 'gone')!r} does not exist" in done.stderr
    assert not (tmp_path / "results" / "trials").exists()


def test_plan_shows_what_run_then_does(tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    shown = command(tmp_path, "plan", sweep).stdout
    desired = load_sweep(sweep)
    assert all(trial_id in shown for trial_id in desired.by_id)
    assert "small: 0 of 2 trials done, 4 epochs missing" in shown
    assert reconcile(desired, Storage(tmp_path / "results")).todo == list(desired.by_id)


def test_one_trial_adopted_is_one_less_to_do(tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    first = next(iter(load_sweep(sweep).by_id))
    alone = command(tmp_path, "trial", sweep, first[:6])
    assert alone.returncode == 0
    assert "epoch   1  loss" in alone.stdout
    assert not (tmp_path / "results").exists()
    assert command(tmp_path, "trial", sweep, first, "--adopt").returncode == 0
    assert "small: 1 of 2 trials done, 2 epochs missing" in command(tmp_path, "status", sweep).stdout
    compared = command(tmp_path, "trial", sweep, first, "--compare")
    assert compared.returncode == 0
    assert "identical: all " in compared.stdout


@pytest.mark.parametrize("module", [pytest.param("ray", marks=pytest.mark.slow), "mlflow"])
def test_trial_plan_and_status_need_neither_ray_nor_mlflow(tmp_path: Path, module: str) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')")
    hidden = {"PYTHONPATH": before_all_others(tmp_path / "absent")}
    sweep = write(tmp_path, SMALL)
    first = next(iter(load_sweep(sweep).by_id))
    for arguments in (["plan", sweep], ["status", sweep], ["trial", sweep, first]):
        done = command(tmp_path, *arguments, **hidden)
        assert done.returncode == 0, done.stderr
    if module == "ray":
        refused = command(tmp_path, "run", sweep, **hidden)
        assert refused.returncode == 2
        assert (
            "Ray is not installed: pip install 'hessian-dynamics[sweep]', or run with --engine local" in refused.stderr
        )
    else:
        done = command(tmp_path, "run", sweep, "--engine", "local", **hidden)
        assert done.returncode == 0
        assert "the shipper ended at once, training starts without it" in done.stdout
        assert "small: 2 of 2 trials done" in done.stdout
        refused = command(tmp_path, "ship", "small", **hidden)
        assert refused.returncode == 2
        assert "pip install 'hessian-dynamics[sweep]'" in refused.stderr


def test_plan_says_the_time_and_run_then_does_what_it_said(tmp_path: Path) -> None:
    sweep = write(tmp_path, SMALL)
    first, second = load_sweep(sweep).by_id
    shown = command(tmp_path, "plan", sweep, "--engine", "local").stdout
    assert "about " in shown
    assert " at a time (probe: " in shown
    assert "time: training " in shown
    assert not (tmp_path / "results").exists()
    storage = Storage(tmp_path / "results")
    assert command(tmp_path, "trial", sweep, first, "--adopt").returncode == 0
    longer = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "epochs": 3}})  # type: ignore[dict-item]
    planned = missing_epochs(reconcile(load_sweep(longer), storage))
    assert planned == {first: range(2, 4), second: range(4)}
    before = {trial_id: storage.trial(trial_id).epochs() for trial_id in planned}
    assert "6 epochs missing" in command(tmp_path, "plan", longer, "--max-concurrent", "1").stdout
    done = command(tmp_path, "run", longer, "--engine", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time: training " in done.stdout
    computed = {key: sorted(set(storage.trial(key).epochs()) - set(before[key])) for key in planned}
    assert computed == {trial_id: list(epochs) for trial_id, epochs in planned.items()}
    begun = [storage.trial(trial_id).attempts()[-1].first_epoch for trial_id in planned]
    assert begun == [2, 0]
    again = command(tmp_path, "plan", longer)
    assert "small: 2 of 2 trials done" in again.stdout
    assert "probe" not in again.stdout
    assert "time: training " in command(tmp_path, "status", longer).stdout


def test_plan_shows_code_of_ones_own_before_it_runs_it(tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "model": {"name": "talkative:Net"}}})  # type: ignore[dict-item]
    (tmp_path / "talkative.py").write_text("print('imported', flush=True)\n1 / 0\n")
    done = command(tmp_path, "plan", sweep)
    assert done.returncode == 0
    assert "runs code of yours: talkative:Net (2 trials)" in done.stdout
    assert "time unknown: " in done.stdout
    before, _, _ = done.stdout.partition("imported")
    assert "runs code of yours" in before


def test_plan_of_missing_data_still_shows_the_trials(tmp_path: Path) -> None:
    sweep = write(tmp_path, {**SMALL, "trial": {**SMALL["trial"], "data": {"name": "image_folder", "path": "gone"}}})  # type: ignore[dict-item]
    done = command(tmp_path, "plan", sweep)
    assert done.returncode == 0
    assert "small: 0 of 2 trials done, 4 epochs missing" in done.stdout
    assert f"time unknown: data folder {str(tmp_path / 'gone')!r} does not exist" in done.stdout


def test_the_doctor_ends_with_1_where_there_is_a_problem(tmp_path: Path) -> None:
    well = command(tmp_path, "doctor", "quickstart")
    assert well.returncode == 0, well.stdout + well.stderr
    assert well.stdout.rstrip().endswith(" 0 problems")
    assert list(tmp_path.iterdir()) == []
    ill = command(tmp_path, "doctor", "--tracking-uri", "http://me:geheim@127.0.0.1:9", RAY_ADDRESS="127.0.0.1:9")
    assert ill.returncode == 1
    assert ill.stdout.rstrip().endswith(" 2 problems")
    assert "geheim" not in ill.stdout + ill.stderr


@pytest.mark.parametrize("module", ["ray", "mlflow"])
def test_the_doctor_works_without_ray_or_mlflow(tmp_path: Path, module: str) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / f"{module}.py").write_text(f"raise ModuleNotFoundError('no {module}', name='{module}')")
    done = command(tmp_path, "doctor", PYTHONPATH=before_all_others(tmp_path / "absent"))
    assert done.returncode == 0, done.stdout + done.stderr
