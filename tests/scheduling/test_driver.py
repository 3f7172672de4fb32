"""The driver with trials in this process: it computes missing epochs and stops on request. See test_run_processes."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.store.ownership.lease import LeaseHeldError
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.training.data.samples import DataError
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.scheduling.inline import use_inline_engine
from tests.training.trials import small_trial

MLP = {"name": "mlp", "hidden": [8]}
OWN = "tests.scheduling.own_nets:Failing"


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    use_inline_engine(monkeypatch)


def sweep(epochs: int = 2, seeds: int = 2, **fields: object) -> Sweep:
    trials = tuple(small_trial(**{"epochs": epochs, "seed": seed, "model": MLP, **fields}) for seed in range(seeds))
    return Sweep("night", "", trials, Resources(cpu=1))


def run(folder: Path, desired: Sweep, **options: object) -> Plan:
    return run_sweep(desired, Storage(folder), Console(file=io.StringIO()), RunOptions("local", **options))  # type: ignore[arg-type]


def ends(folder: Path, desired: Sweep) -> list[str | None]:
    return [attempt.ended for key in desired.by_id for attempt in Storage(folder).trial(key).attempts()]


def records(folder: Path, desired: Sweep) -> list[dict[str, object]]:
    return [record.reproducible() for key in desired.by_id for record in Storage(folder).trial(key).records()]


def once_epochs_are_there(folder: Path, desired: Sweep, count: int, act: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        while sum(len(Storage(folder).trial(key).numbers()) for key in desired.by_id) < count:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_second_run_computes_nothing(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    desired = sweep()
    assert run(tmp_path, desired).summary == "night: 2 of 2 trials done"
    assert ends(tmp_path, desired) == ["completed", "completed"]
    assert Storage(tmp_path).sweep("night").gallery() is not None
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*")}
    run(tmp_path, desired)
    assert messages.messages == ["nothing left to do"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*")} == before


def test_adding_seeds_and_epochs_computes_only_the_missing_ones(tmp_path: Path) -> None:
    run(tmp_path, sweep(epochs=1, seeds=1))
    desired = sweep(epochs=2, seeds=2)
    run(tmp_path, desired)
    attempts = [Storage(tmp_path).trial(key).attempts() for key in desired.by_id]
    assert [[attempt.first_record for attempt in found] for found in attempts] == [[0, 2], [0]]


def test_on_manifest_is_called_after_writing_the_manifest_and_before_trials(tmp_path: Path) -> None:
    called: list[str] = []

    def on_manifest() -> None:
        assert Storage(tmp_path).sweep("night").read_manifest()[0].name == "night"
        called.append("manifest")

    run(tmp_path, sweep(1, 1), on_manifest=on_manifest, before_trials=lambda: called.append("trials"))
    assert called == ["manifest", "trials"]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"data": {"name": "table", "path": "/no/such.csv", "target": "y"}}, "'/no/such.csv' cannot be read"),
        ({"data": {"name": "digits", "train_subset": 1295}}, "digits has 1294 samples"),
        ({"model": {"name": "cnn"}, "augmentation": {"crop": 9}}, "augmentation.crop is 9"),
        ({"model": {"name": "tests.training.user_nets:Broken", "width": 1}}, "no width is good"),
        ({"model": {"name": "no_such_place:Net"}}, "no_such_place"),
    ],
)
def test_a_refused_sweep_leaves_no_file(tmp_path: Path, refused: dict[str, object], reason: str) -> None:
    started: list[str] = []
    for _ in range(2):
        with pytest.raises((ValueError, UserCodeError), match=reason):
            run(tmp_path, sweep(1, 1, **refused), on_manifest=lambda: started.append("shipper"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert started == []
    assert run(tmp_path, sweep(1, 1)).summary == "night: 1 of 1 trials done"


def test_a_refused_change_of_a_sweep_leaves_its_manifest(tmp_path: Path) -> None:
    first = sweep(1, 1)
    run(tmp_path, first)
    store = Storage(tmp_path).sweep("night")
    with pytest.raises(DataError):
        run(tmp_path, sweep(1, 1, data={"name": "table", "path": "/no/such.csv", "target": "y"}))
    assert store.read_manifest()[0].trials == first.trials
    assert (store.driver_lease.newest_number(), store.driver_lease.holder()) == (2, None)


def test_verify_finds_damage_that_was_not_known(tmp_path: Path) -> None:
    desired = sweep(seeds=1)
    run(tmp_path, desired)
    before = records(tmp_path, desired)
    (trial_id,) = desired.by_id
    path = tmp_path / "trials" / trial_id / "epochs" / "00001.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert (
        run(tmp_path, desired).summary == "night: 1 of 1 trials done"
    )  # only the last epoch is read, and it is intact
    run(tmp_path, desired, verify=True)
    assert records(tmp_path, desired) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_after_the_current_epoch(
    tmp_path: Path, number: signal.Signals, messages: pytest.LogCaptureFixture
) -> None:
    desired = sweep(epochs=30)
    waiting = once_epochs_are_there(tmp_path, desired, 2, lambda: os.kill(os.getpid(), number))
    result = run(tmp_path, desired)
    waiting.join()
    assert messages.messages[0].startswith("Stopping after the next records; nothing is lost.")
    assert messages.messages[-1] == "Stopped on request. Run the same command again to continue."
    assert ends(tmp_path, desired) == ["interrupted"]
    assert set(result.counts) == {State.INTERRUPTED, State.PENDING}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    desired = sweep(epochs=30)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not Storage(tmp_path).sweep("night").stop_requested:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    waiting = once_epochs_are_there(tmp_path, desired, 2, twice)
    try:
        run(tmp_path, desired)
    except KeyboardInterrupt:
        pass  # unless the epoch ended first
    else:
        assert "interrupted" in ends(tmp_path, desired)
    waiting.join()
    assert set(reconcile(desired, Storage(tmp_path)).counts) == {State.INTERRUPTED, State.PENDING}
    assert Storage(tmp_path).sweep("night").driver_lease.holder() is None


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with (
        Storage(tmp_path).sweep("night").driver_lease,
        pytest.raises(LeaseHeldError, match="another driver is running"),
    ):
        run(tmp_path, sweep())


def test_a_bug_fails_its_trials_and_the_others_continue(tmp_path: Path) -> None:
    good, bad = sweep(seeds=2), sweep(1, 1, model={"name": OWN, "error": "ZeroDivisionError"})
    desired = Sweep("night", "", (*good.trials, *bad.trials), Resources(cpu=1))
    assert run(tmp_path, desired).summary == "night: 2 of 3 trials done, 1 failed, 1 epochs missing"
    (attempt,) = Storage(tmp_path).trial(bad.trials[0].trial_id).attempts()
    assert "ZeroDivisionError: a bug of mine" in attempt.reason


def test_the_same_bug_in_the_first_three_trials_stops_the_run(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    desired = sweep(1, 5, model={"name": OWN, "error": "ZeroDivisionError"})
    result = run(tmp_path, desired)
    assert result.counts[State.FAILED] == 3
    assert len(ends(tmp_path, desired)) == 3
    assert "the first 3 trials all failed with this error" in messages.text


def test_out_of_memory_is_retried_alone_once_and_then_fails_with_advice(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    desired = sweep(1, 1, model={"name": OWN, "error": "OutOfMemoryError"})
    result = run(tmp_path, desired)
    assert "retrying from its last record, alone" in messages.text
    assert ends(tmp_path, desired) == ["interrupted", "failed"]
    (status,) = result.statuses.values()
    assert status.attempt is not None
    assert "it was alone on the machine: a smaller batch_size" in status.attempt.reason
