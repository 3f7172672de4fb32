"""Cases of the benchmark of `plan`."""

from pathlib import Path

from benchmarks.sweeps import plan
from orchestrator.study.sweep import load_sweep
from orchestrator.study.yaml_file import read_yaml


def test_every_shipped_sweep_that_lasts_epochs_is_compared() -> None:
    shipped = {path.stem for path in Path("sweeps").glob("*.yaml") if "epochs" in read_yaml(path)["trial"]}
    assert {case.sweep for case in plan.CASES.values()} == shipped


def test_cases_keep_the_measurement_of_the_sweep(tmp_path: Path) -> None:
    for name, case in plan.CASES.items():
        with plan.workplace(plan.content(case, tmp_path)) as place:
            trials = place.sweep.trials
        shipped = load_sweep(case.sweep, ["data.path=my.txt"] if case.sweep == "text" else []).trials[0]
        kept = shipped.measurement.lanczos_coarse_fraction if case.coarse_start else 0.0
        assert all(
            trial.measurement == shipped.measurement.model_copy(update={"lanczos_coarse_fraction": kept})
            for trial in trials
        ), name
        assert all(trial.epochs == case.epochs for trial in trials)
