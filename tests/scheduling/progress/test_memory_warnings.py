"""Warnings about trials that use more memory than they request."""

from pathlib import Path

import pytest

from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.progress.memory_warnings import MemoryWarnings
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(3))
SWEEP = Sweep("three", "", TRIALS, Resources())
FIRST, SECOND, THIRD = (trial.trial_id for trial in TRIALS)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Two running trials, of which the first has used 3 GiB, and a third one that ended with 4 GiB."""
    storage = Storage(tmp_path)
    for trial_id, records, gib in ((FIRST, 2, 3.0), (SECOND, 2, 1.0), (THIRD, 5, 4.0)):
        store = storage.trial(trial_id)
        store.write_attempt(attempt("1"))
        for number in range(records):
            commit(storage, trial_id, number, gib)
    return storage


def commit(storage: Storage, trial_id: str, number: int, gib: float | None) -> None:
    memory = None if gib is None else 1024 * gib
    record = Record(number=number, timestamp_ms=1000 + number, loss_train=1.0, system_memory_mib=memory)
    assert storage.trial(trial_id).commit(record, b"state", "digest", "1")


def warned(storage: Storage, warnings: MemoryWarnings, messages: pytest.LogCaptureFixture) -> list[str]:
    """Returns the new messages."""
    messages.clear()
    warnings.update(reconcile(SWEEP, storage))
    return messages.messages


def test_each_trial_of_the_run_is_reported_once(storage: Storage, messages: pytest.LogCaptureFixture) -> None:
    warnings = MemoryWarnings(Resources(memory_gib=2.5), [FIRST, SECOND])
    line = (
        "trial {}: its process has used {:.2f} GiB of memory, but resources.memory_gib is 2.5; to run fewer trials at "
        "a time, use --set resources.memory_gib={:g}"
    )
    assert warned(storage, warnings, messages) == [line.format(FIRST, 3.0, 3)]
    assert warned(storage, warnings, messages) == []
    for number in range(2, 5):  # the last record of a trial is reported although the trial has ended
        commit(storage, SECOND, number, 3.41)
    assert warned(storage, warnings, messages) == [line.format(SECOND, 3.41, 3.5)]
    assert warned(storage, MemoryWarnings(Resources(memory_gib=4.0), SWEEP.by_id), messages) == []


def test_nothing_is_reported_if_memory_is_unknown_or_not_requested(
    storage: Storage, messages: pytest.LogCaptureFixture
) -> None:
    assert warned(storage, MemoryWarnings(Resources(), SWEEP.by_id), messages) == []
    commit(storage, FIRST, 2, None)
    assert warned(storage, MemoryWarnings(Resources(memory_gib=2.5), [FIRST]), messages) == []
