"""The next plan contains damage that a reader found, without reading intact epochs again."""

from pathlib import Path

import pytest

from orchestrator.scheduling.forecast.show import damage as damage_lines
from orchestrator.scheduling.forecast.time_spent import spending
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.errors import DamagedError
from orchestrator.store.frames import read_frames
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(3))
SWEEP = Sweep("three", "", TRIALS, Resources())
FIRST, SECOND, _ = (trial.trial_id for trial in TRIALS)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path)
    storage.sweep("three").write_manifest(SWEEP, capture())
    for trial in TRIALS:
        commit_epochs(storage.trial(trial.trial_id), range(5))
    return storage


def spoil(storage: Storage, trial_id: str, epoch: int) -> Path:
    path = Path(str(storage.root)) / "trials" / trial_id / "epochs" / f"{epoch:05d}.json"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    return path


def test_damage_is_unknown_until_it_is_read(storage: Storage) -> None:
    spoil(storage, FIRST, 2)
    assert reconcile(SWEEP, storage).todo == []
    assert storage.suspects() == {}


def test_damage_found_while_reading_tables_is_in_the_next_plan(storage: Storage) -> None:
    paths = [spoil(storage, FIRST, 2), spoil(storage, SECOND, 0)]
    with pytest.raises(DamagedError) as caught:
        read_frames(storage, "three")
    assert all(f"{path} is damaged; run the sweep again" in str(caught.value) for path in paths)
    plan = reconcile(SWEEP, storage)
    assert plan.damaged == {FIRST: (2,), SECOND: (0,)}
    assert plan.todo == [FIRST, SECOND]
    assert plan.missing_records == 2
    assert damage_lines(plan) == [
        f"damaged: epoch 2 of {FIRST} (seed=0)",
        f"damaged: epoch 0 of {SECOND} (seed=1)",
        "to repair: hessian-dynamics run three sets them aside and computes them again",
    ]


def test_computing_the_time_spent_skips_and_marks_damaged_epochs(storage: Storage) -> None:
    spoil(storage, FIRST, 1)
    spending(reconcile(SWEEP, storage), storage)
    assert storage.suspects() == {FIRST: (1,)}
    assert reconcile(SWEEP, storage).statuses[FIRST].state is State.INTERRUPTED


def test_verify_finds_all_damage(storage: Storage) -> None:
    for epoch in (1, 3, 4):
        spoil(storage, SECOND, epoch)
    storage.verify(SWEEP.by_id)
    assert reconcile(SWEEP, storage).damaged == {SECOND: (1, 3, 4)}


def test_an_epoch_set_aside_is_missing_and_not_damaged(storage: Storage) -> None:
    spoil(storage, FIRST, 2)
    storage.verify(SWEEP.by_id)
    assert storage.trial(FIRST).set_aside_damaged() == [2]
    assert storage.suspects() == {}
    plan = reconcile(SWEEP, storage)
    assert (plan.damaged, plan.todo) == ({}, [FIRST])


def test_a_mark_on_an_intact_epoch_has_no_effect(storage: Storage) -> None:
    path = spoil(storage, FIRST, 2)
    storage.verify(SWEEP.by_id)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert reconcile(SWEEP, storage).todo == []


def test_damage_of_many_trials_is_summarised(tmp_path: Path) -> None:
    trials = tuple(small_trial(seed=seed, epochs=1) for seed in range(13))
    sweep, storage = Sweep("many", "", trials, Resources()), Storage(tmp_path)
    for trial in trials:
        commit_epochs(storage.trial(trial.trial_id), range(2))
        spoil(storage, trial.trial_id, 0)
    storage.verify(sweep.by_id)
    lines = damage_lines(reconcile(sweep, storage))
    assert len(lines) == 12
    assert lines[10] == "damaged: epochs of 3 more trials"
