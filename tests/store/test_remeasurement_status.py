"""The progress of remeasuring a trial."""

import math

from orchestrator.store.remeasurement_status import remeasurement_status
from orchestrator.store.trial import TrialStore
from tests.store.stored import checkpoint, config, record
from tests.store.trials import LABEL, measure


def commit(trial: TrialStore, last: int, every: int = 0, diverges: bool = False) -> None:
    for epoch in range(last + 1):
        loss = math.nan if diverges and epoch == last else 0.5
        assert trial.commit(record(epoch, loss), checkpoint(epoch), "d", "by", every > 0 and epoch % every == 0)


def test_epochs_with_a_checkpoint_and_no_remeasurement_are_due(trial: TrialStore) -> None:
    commit(trial, last=9, every=4)
    measure(trial, 4)
    measure(trial, 0, 4, 8, label="other")
    found = remeasurement_status(trial, config(), LABEL, every=1)
    assert found.measured == (4,)
    assert [each.record.epoch for each in found.due] == [0, 8, 9]
    assert (found.diverged, found.begun, found.without_checkpoint) == ((), True, False)
    assert [each.record.epoch for each in remeasurement_status(trial, config(), LABEL, every=3).due] == [0, 9]
    assert [each.record.epoch for each in remeasurement_status(trial, config(epochs=8), LABEL, every=1).due] == [0, 8]
    assert remeasurement_status(trial, config(), "other", every=8).measured == (0, 8)


def test_a_remeasured_epoch_counts_without_its_checkpoint(trial: TrialStore) -> None:
    commit(trial, last=1)
    measure(trial, 1)
    for epoch in (2, 3):
        assert trial.commit(record(epoch), checkpoint(epoch), "d", "by")
    found = remeasurement_status(trial, config(), LABEL, every=1)
    assert found.measured == (1,)
    assert [each.record.epoch for each in found.due] == [2, 3]


def test_a_diverged_epoch_is_not_due(trial: TrialStore) -> None:
    commit(trial, last=4, diverges=True)
    found = remeasurement_status(trial, config(), LABEL, every=1)
    assert [each.record.epoch for each in found.due] == [3]
    assert found.diverged == (4,)


def test_a_trial_without_a_suitable_checkpoint(trial: TrialStore) -> None:
    assert remeasurement_status(trial, config(), LABEL, every=1).without_checkpoint
    assert not remeasurement_status(trial, config(), LABEL, every=1).begun
    commit(trial, last=9)
    assert [each.record.epoch for each in remeasurement_status(trial, config(), LABEL, every=4).due] == [8]
    for nothing in (
        remeasurement_status(trial, config(), LABEL, every=5),
        remeasurement_status(trial, config(epochs=7), LABEL, every=1),
    ):
        assert nothing.without_checkpoint
        assert nothing.begun
