"""The progress line: states of trials, rate of epochs, time left."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.progress import Pace, Progress, describe, duration
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(5))
SWEEP = Sweep("five", "", TRIALS, Resources())


def test_states_epochs_and_pace_are_shown_in_one_line(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, diverged, failed, _ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(2))
    commit_epochs(diverged, range(3), last_loss=float("nan"))
    failed.write_attempt(attempt("1", ended="failed", reason="ValueError: boom"))
    assert describe(reconcile(SWEEP, storage), Pace(1350.4, 242.0)) == (
        "5 trials: 2 done (1 diverged), 0 running, 1 failed, 2 waiting | 12 of 25 epochs, 1,350 an hour, 4m 02s left"
    )


def test_the_pace_is_averaged_over_the_last_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(SWEEP, Storage(tmp_path), Console(file=io.StringIO()))
    missing = {0.0: 100, 100.0: 90, 600.0: 40, 700.0: 30}
    paces = []
    for seconds, left in missing.items():
        monkeypatch.setattr("time.monotonic", lambda seconds=seconds: seconds)
        paces.append(progress.pace(left))
    assert paces[0] == Pace(None, None)
    assert str(paces[0]) == ""
    assert paces[1] == Pace(360.0, 900.0)
    assert paces[3] == Pace(360.0, 300.0)
    assert str(paces[3]) == ", 360 an hour, 5m 00s left"


def test_the_tracker_is_mentioned_only_if_it_is_unreachable(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    progress = Progress(SWEEP, storage, Console(file=io.StringIO()))
    plain = "5 trials: 0 done, 0 running, 5 waiting | 0 of 25 epochs"
    assert progress.line() == plain
    for state in ("shipping", "done", "damaged"):
        storage.sweep("five").write_shipper_status(ShipperStatus(state, "", 7, 1))
        assert progress.line() == plain
    storage.sweep("five").write_shipper_status(ShipperStatus("unreachable", "", 7, 1))
    assert progress.line() == f"{plain} | tracker unreachable, 7 records wait"


def test_durations_are_formatted() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 242, 11220)] == ["0s", "1m 00s", "4m 02s", "3h 07m"]
