"""Estimates of the duration of a run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.scheduling.engines.local import trials_here
from orchestrator.scheduling.forecast.estimate import ENGINE_SECONDS, Estimate, makespan, missing_records, own_code
from orchestrator.scheduling.forecast.show import forecast
from orchestrator.scheduling.forecast.time_spent import Spent
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(5))
SWEEP = Sweep("five", "", TRIALS, Resources())


@contextmanager
def status(text: str) -> Iterator[None]:
    yield


def test_each_job_starts_on_the_first_free_slot() -> None:
    assert makespan([1.0] * 13, 2) == 7
    assert makespan([1.0] * 13, 13) == 1
    assert makespan([5.0, 1.0, 1.0, 1.0], 2) == 5
    assert makespan([1.0, 1.0, 1.0, 5.0], 2) == 6  # a long job at the end increases the total
    assert makespan([3.0], 1) == 3


def test_total_time_includes_makespan_and_startup() -> None:
    trials = {str(number): Spent(training=30.0, evaluating=10.0, measuring=20.0) for number in range(3)}
    found = Estimate(trials, at_a_time=2, start_seconds=4.0, engine_seconds=ENGINE_SECONDS["ray"], probe_seconds=9.0)
    assert found.seconds == 120 + 4 + ENGINE_SECONDS["ray"]
    assert found.spent == Spent(90.0, 30.0, 60.0)


def test_missing_records_follow_the_last_stored_epoch(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, diverged, failed, _ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(3))
    commit_epochs(diverged, range(3), last_loss=float("nan"))
    failed.write_attempt(attempt("1", ended="failed", reason="ValueError: boom"))
    plan = reconcile(SWEEP, storage)
    missing = missing_records(plan)
    assert list(missing.values()) == [range(3, 5), range(5), range(5)]
    assert list(missing) == plan.todo
    assert sum(map(len, missing.values())) == plan.missing_records


def test_number_of_concurrent_trials_is_limited_by_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert trials_here(Resources(cpu=1)) == 8
    assert trials_here(Resources(cpu=3)) == 2
    assert trials_here(Resources(cpu=99)) == 1
    assert trials_here(Resources(cpu=1), 3) == 3
    assert trials_here(Resources(cpu=4), 3) == 2  # an upper limit only


def test_user_code_to_be_run_is_listed(tmp_path: Path) -> None:
    mine = [small_trial(model={"name": name}, seed=seed) for name in ("a.b:Net", "c:Other") for seed in (0, 1)]
    plan = reconcile(Sweep("own", "", (*mine[:3], *TRIALS), Resources()), Storage(tmp_path))
    assert own_code(plan) == ["runs your code: a.b:Net (2 trials)", "runs your code: c:Other (1 trial)"]
    commit_epochs(Storage(tmp_path).trial(mine[2].trial_id), range(3))
    plan = reconcile(plan.sweep, Storage(tmp_path))
    assert own_code(plan) == ["runs your code: a.b:Net (2 trials)"]
    measured = small_trial(measurement={"estimators": ["lanczos", "my_package:scale"]})
    assert own_code(reconcile(Sweep("own", "", (measured,), Resources()), Storage(tmp_path))) == [
        "runs your code: my_package:scale (1 trial)"
    ]


def test_nothing_is_probed_if_nothing_is_missing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for trial in TRIALS:
        commit_epochs(storage.trial(trial.trial_id), range(5))
    assert forecast(reconcile(SWEEP, storage), "ray", None, status) == []


def test_duration_is_unknown_if_data_is_missing(tmp_path: Path) -> None:
    trial = small_trial(data={"name": "image_folder", "path": str(tmp_path / "none")})
    plan = reconcile(Sweep("none", "", (trial,), Resources()), Storage(tmp_path))
    (line,) = forecast(plan, "ray", None, status)
    assert line.startswith(f"time unknown: data folder '{tmp_path}/none' does not exist; put images into train/")


def test_forecast_shows_total_time_and_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    @contextmanager
    def noted(text: str) -> Iterator[None]:
        said.append(text)
        yield

    monkeypatch.setattr("orchestrator.scheduling.forecast.probe.LEAST_SECONDS", 0.0)
    plan = reconcile(SWEEP, Storage(tmp_path / "results"))
    total, split, quantities = forecast(plan, "local", 1, noted)
    assert total.startswith("about ")
    assert " on this machine, 1 trial at a time (probe: " in total
    assert split.startswith("time: training ")
    assert re.fullmatch(r"measuring: (lanczos|algorithm1) \d+%, (lanczos|algorithm1) \d+%", quantities)
    assert said == ["reading the data", "probing: timing 3 parts of records, 1 at a time"]
    assert not (tmp_path / "results").exists()
