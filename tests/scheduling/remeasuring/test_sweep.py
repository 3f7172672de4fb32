"""Remeasuring a sweep: each checkpoint once, with a report, and never at the same time as another driver."""

import io
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.progress.progress import PLAIN_SECONDS
from orchestrator.scheduling.remeasuring.change import MeasurementChange, read_change
from orchestrator.scheduling.remeasuring.job import RemeasureJob
from orchestrator.scheduling.remeasuring.status import (
    SweepRemeasurement,
    remeasured_lines,
    shortcomings,
    sweep_remeasurement,
)
from orchestrator.scheduling.remeasuring.sweep import remeasure_sweep
from orchestrator.scheduling.retry import Failure, death
from orchestrator.store.ownership.lease import LeaseHeldError
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.trial import TrialOptions, run_trial
from tests.scheduling.inline import use_inline_engine
from tests.store.stored import remeasured
from tests.training.trials import small_trial

LOCAL = RunOptions("local", max_concurrent=1)
MLP = {"name": "mlp", "hidden": [20]}
FIRST, SECOND = (small_trial(epochs=3, model=MLP, seed=seed) for seed in (0, 1))
FULL = {"fraction": 0.1, "lanczos_products": 3, "algorithm1_iterations": 2, "algorithm1_probes": 2}
DIVERGING = small_trial(epochs=4, model=MLP, optimizer={"name": "sgd", "lr": 1e12})


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    use_inline_engine(monkeypatch)


@dataclass
class Place:
    storage: Storage
    sweep: Sweep
    said: io.StringIO

    @property
    def change(self) -> MeasurementChange:
        return read_change(["measurement.fraction=0.1"], self.sweep)

    def measure(self, every: int = 1) -> SweepRemeasurement:
        console = Console(file=self.said, width=300)
        return remeasure_sweep(self.sweep, self.storage, console, self.change, every, LOCAL)

    def numbers(self, config: TrialConfig) -> list[int]:
        return self.storage.trial(config.trial_id).remeasurements.numbers(self.change.label)


def place(folder: Path, *configs: TrialConfig, begun: int = 99) -> Place:
    storage = Storage(folder / "results")
    sweep = Sweep("night", "", configs, Resources(), "every 2")
    storage.sweep("night").write_manifest(sweep, capture())
    for config in configs[:begun]:
        run_trial(config, storage.trial(config.trial_id), TrialOptions(sweep.resources, keeps=sweep.keeps))
    return Place(storage, sweep, io.StringIO())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    place(folder, FIRST, SECOND)
    return folder


@pytest.fixture
def two(trained: Path, tmp_path: Path) -> Place:
    """A separate storage with the two trained trials."""
    shutil.copytree(trained / "results", tmp_path / "results")
    return place(tmp_path, FIRST, SECOND, begun=0)


def test_every_checkpoint_is_measured_once_and_progress_is_shown(
    two: Place, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    assert PLAIN_SECONDS > 1
    monkeypatch.setattr("orchestrator.scheduling.progress.progress.PLAIN_SECONDS", 0.02)
    here = two
    some = here.measure(every=2)
    assert some.summary == "measured 4 checkpoints of 2 trials as fraction-0.1/...; 0 failed"
    here.said.truncate(0)
    result = here.measure()
    lines = here.said.getvalue().strip("\0").splitlines()
    assert lines[0] == "2 trials: 4 of 6 checkpoints measured"
    assert any(line.startswith("2 trials: 5 of 6 checkpoints measured, ") and line.endswith(" left") for line in lines)
    assert result.summary == "measured 6 checkpoints of 2 trials as fraction-0.1/...; 0 failed"
    assert (result.todo, shortcomings(result, 1)) == ([], [])
    assert here.numbers(FIRST) == here.numbers(SECOND) == [0, 2, 3]
    before = {path: path.stat().st_mtime_ns for path in (here.storage.root / "trials").rglob("*")}
    assert here.measure().summary == result.summary
    assert "nothing left to measure" in messages.messages
    assert {path: path.stat().st_mtime_ns for path in (here.storage.root / "trials").rglob("*")} == before
    assert here.storage.sweep("night").driver_lease.holder() is None
    assert remeasured_lines(here.sweep, here.storage) == ["measured again: fraction-0.1: 6 checkpoints of 2 trials"]


def test_a_second_driver_is_refused(two: Place) -> None:
    here = two
    with here.storage.sweep("night").driver_lease, pytest.raises(LeaseHeldError) as caught:
        here.measure()
    assert str(caught.value).startswith(f"night: another driver is running: process {os.getpid()} on ")
    assert here.numbers(FIRST) == []


def test_ctrl_c_stops_after_a_checkpoint_and_a_rerun_continues(two: Place, messages: pytest.LogCaptureFixture) -> None:
    here = two

    def interrupt() -> None:
        while not here.numbers(FIRST):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=interrupt)
    pressing.start()
    result = here.measure()
    pressing.join()
    assert 1 <= result.measured < 6
    assert result.summary.endswith(f"0 failed; {6 - result.measured} checkpoints still to measure")
    assert shortcomings(result, 1) == []
    assert "Stopping after the next records; nothing is lost." in messages.text
    assert "Stopped on request. Run the same command again to continue." in messages.messages
    assert here.measure().measured == 6


def damage(here: Place, config: TrialConfig, epoch: int) -> Path:
    trial = here.storage.trial(config.trial_id)
    path = here.storage.root / "trials" / config.trial_id / "checkpoints" / trial.read(epoch).checkpoint
    path.write_bytes(path.read_bytes()[:-1])
    return path


def test_a_failure_is_reported_with_its_reason_and_the_others_continue(two: Place) -> None:
    here = two
    path = damage(here, FIRST, 2)
    result = here.measure()
    assert result.summary == (
        "measured 5 checkpoints of 2 trials as fraction-0.1/...; 1 failed; 1 checkpoint still to measure"
    )
    (line,) = shortcomings(result, 1)
    assert line.startswith(
        f"failed: {FIRST.trial_id} (seed=0): orchestrator.store.errors.StorageError: checkpoint {path} is damaged: "
    )
    path.unlink()  # as the message advises
    assert here.measure().summary == "measured 5 checkpoints of 2 trials as fraction-0.1/...; 0 failed"


@dataclass(frozen=True)
class Dying(RemeasureJob):
    def run(self, trial_id: str, node: str = "") -> Failure | None:
        return death(-signal.SIGKILL)


def test_a_worker_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    here = place(tmp_path, FIRST)
    monkeypatch.setattr("orchestrator.scheduling.remeasuring.sweep.RemeasureJob", Dying)
    result = here.measure()
    assert result.summary.startswith("measured 0 checkpoints of 0 trials as fraction-0.1/...; 1 failed; 3 checkpoints")
    assert shortcomings(result, 1)[0].startswith(f"failed: {FIRST.trial_id} ()")
    assert shortcomings(result, 1)[0].endswith(": its process died (killed by SIGKILL), 4 times without a new record")
    assert "its process died (killed by SIGKILL); retrying" in messages.text


def test_trials_without_a_checkpoint_are_listed_with_a_fix(tmp_path: Path) -> None:
    here = place(tmp_path, FIRST, SECOND, begun=1)
    result = here.measure(every=5)
    assert result.summary == "measured 1 checkpoint of 1 trial as fraction-0.1/...; 0 failed; 1 trial has no checkpoint"
    assert shortcomings(result, 5) == [
        f"not begun: {SECOND.trial_id}; hessian-dynamics run night trains what is missing"
    ]
    for path in (here.storage.root / "trials" / FIRST.trial_id / "checkpoints").iterdir():
        path.unlink()
    for every, what, keep in (
        (1, "no checkpoint", 10),
        (7, "no checkpoint of a record whose number is a multiple of 7", 7),
    ):
        gone = replace(here.sweep, trials=(FIRST,))
        other = MeasurementChange((("lanczos_products", 4),))
        assert shortcomings(sweep_remeasurement(gone, here.storage, other, every), every) == [
            f"{what}: {FIRST.trial_id}; keep_checkpoints: every {keep} in the sweep keeps those of future records; "
            "for those of past records run the sweep into another --storage"
        ]


def test_diverged_epochs_and_unchanged_trials_are_counted(tmp_path: Path) -> None:
    here = place(tmp_path, DIVERGING, small_trial(epochs=1, model=MLP, measurement=FULL))
    last = here.storage.trial(DIVERGING.trial_id).numbers()[-1]
    kept = len({epoch for epoch in range(last) if epoch % 2 == 0} | {last - 1})
    assert here.measure().summary == (
        f"measured {kept} checkpoint{'s' if kept > 1 else ''} of 1 trial as fraction-0.1/...; 0 failed; "
        "1 checkpoint diverged and cannot be measured; 1 trial measured like this in training"
    )


def test_epochs_beyond_the_sweep_are_not_measured(tmp_path: Path) -> None:
    here = place(tmp_path, FIRST)
    run_trial(small_trial(epochs=5, model=MLP), here.storage.trial(FIRST.trial_id), TrialOptions(Resources()))
    here.measure()
    assert here.numbers(FIRST) == [0, 2]
    here.storage.trial(FIRST.trial_id).remeasurements.add("fraction-0.1", remeasured(5))
    assert remeasured_lines(here.sweep, here.storage) == ["measured again: fraction-0.1: 2 checkpoints of 1 trial"]
