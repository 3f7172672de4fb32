"""Changes in a store are found, and unchanged trials are not read."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.runs import changes
from orchestrator.tracking.runs.changes import StoredSweep
from tests.tracking.stored import attempt, manifest, measure, sweep, train


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read."""
    found: list[str] = []
    read = DiskFiles.read

    def noted(self: DiskFiles, name: str) -> bytes | None:
        found.append(name)
        return read(self, name)

    monkeypatch.setattr(DiskFiles, "read", noted)
    return found


def aged(storage: Storage) -> None:
    """Makes all files a minute old; recent ones are always read again."""
    for path in [storage.root, *storage.root.rglob("*")]:
        then = path.stat().st_mtime_ns - 60_000_000_000
        os.utime(path, ns=(then, then))


def test_unchanged_trials_are_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    desired = sweep(seeds=3)
    storage = manifest(tmp_path / "results", desired)
    done, going, *pending = desired.trials
    train(storage, done, 0, 3, State.COMPLETED)
    train(storage, going, 0, 1)
    aged(storage)
    stored = StoredSweep(storage, "toy")
    assert stored.read_changed(1.0) == set(desired.by_id)
    assert stored.read_changed(1.0) == set()
    reads.clear()
    for _ in range(3):
        assert stored.read_changed(1.0) == set()
        assert not stored.read_manifest()
    assert reads == []
    assert len(pending) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda storage, trial: train(storage, trial, 2, 2),
        lambda storage, trial: storage.trial(trial.trial_id).write_attempt(attempt(ended=State.FAILED, reason="x")),
        lambda storage, trial: storage.trial(trial.trial_id).write_attempt(attempt(started_ms=2**41)),
        lambda storage, trial: measure(storage, trial, 1),
    ],
    ids=["epoch", "end of attempt", "new attempt", "measurement"],
)
def test_every_change_is_found(change: Callable[..., None], tmp_path: Path) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials[:2]:
        train(storage, config, 0, 1)
        measure(storage, config, 0)
    aged(storage)
    stored = StoredSweep(storage, "toy")
    stored.read_changed(1.0)
    assert stored.read_changed(1.0) == set()
    change(storage, desired.trials[0])
    assert stored.read_changed(1.0) == {desired.trials[0].trial_id}
    # A second change is found even if the timestamp stays the same.
    assert stored.read_changed(1.0) == {desired.trials[0].trial_id}


def test_a_started_trial_is_found(tmp_path: Path) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    stored = StoredSweep(storage, "toy")
    stored.read_changed(1.0)
    train(storage, desired.trials[3], 0, 0)
    assert stored.read_changed(1.0) == {desired.trials[3].trial_id}
    assert stored.trials[desired.trials[3].trial_id].numbers == (0,)


def test_trials_are_interrupted_once_their_driver_is_gone(tmp_path: Path) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    train(storage, desired.trials[0], 0, 1, started_ms=time.time_ns() // 1_000_000)
    aged(storage)
    stored = StoredSweep(storage, "toy")
    stored.read_changed(time.time() - 100)
    assert stored.trials[desired.trials[0].trial_id].status.state is State.RUNNING
    stored.read_changed(None)
    assert stored.trials[desired.trials[0].trial_id].status.state is State.INTERRUPTED


def test_ended_trials_are_checked_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    train(storage, desired.trials[0], 0, 3, State.COMPLETED)
    aged(storage)
    stored = StoredSweep(storage, "toy")
    for _ in range(3):
        stored.read_changed(1.0)
    measure(storage, desired.trials[0], 3)
    assert stored.read_changed(1.0) == set()
    monkeypatch.setattr(changes, "ENDED_TRIALS_SECONDS", 0.0)
    assert stored.read_changed(1.0) == {desired.trials[0].trial_id}


def test_a_changed_manifest_is_read(tmp_path: Path) -> None:
    storage = manifest(tmp_path / "results", sweep())
    stored = StoredSweep(storage, "toy")
    stored.read_changed(None)
    manifest(storage.root, sweep(seeds=4, epochs=5))
    assert stored.read_manifest()
    assert stored.read_changed(None) == set(sweep(seeds=4).by_id)
    assert not stored.read_manifest()


def test_pending_epochs_are_counted(tmp_path: Path) -> None:
    desired = sweep(epochs=3)
    storage = manifest(tmp_path / "results", desired)
    first, second, *_ = (config.trial_id for config in desired.trials)
    train(storage, desired.trials[0], 0, 5)  # another sweep had more epochs of this trial
    train(storage, desired.trials[1], 0, 1)
    stored = StoredSweep(storage, "toy")
    stored.read_changed(None)
    assert stored.pending_records({}) == 6
    assert stored.pending_records({first: 2, second: 0}) == 2
    assert stored.pending_records({first: 3, second: 1}) == 0


def test_a_missing_storage_is_not_reported_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = manifest(tmp_path / "results", sweep())
    stored = StoredSweep(storage, "toy")
    monkeypatch.setattr(DiskFiles, "list", lambda self, folder: (_ for _ in ()).throw(StorageError("gone")))
    with pytest.raises(StorageError, match="gone"):
        stored.read_changed(None)
    assert stored.damaged == {}
    (storage.root / "sweeps/toy/manifest.json").unlink()
    with pytest.raises(StorageError, match=r"manifest.json does not exist; check --storage"):
        stored.read_manifest()


def test_damage_is_cleared_once_repaired(tmp_path: Path) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:
        train(storage, config, 0, 1)
    hurt = desired.trials[1].trial_id
    path = storage.root / "trials" / hurt / "epochs" / "00001.json"
    good = path.read_bytes()
    path.write_bytes(b"")
    aged(storage)
    stored = StoredSweep(storage, "toy")
    assert stored.read_changed(1.0) == set(desired.by_id)
    assert stored.trials[hurt].status.damaged == (1,)
    assert stored.read_changed(1.0) == {hurt}
    path.write_bytes(good)
    stored.read_changed(1.0)
    assert stored.trials[hurt].status.damaged == ()
    assert stored.read_changed(1.0) == set()
