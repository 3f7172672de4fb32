"""The time spent on trials, computed from the stored records."""

import time
from pathlib import Path

import pytest

from orchestrator.scheduling.forecast.show import about, progress, split
from orchestrator.scheduling.forecast.time_spent import Spent, seconds_left, spending
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=3) for seed in range(2))
SWEEP = Sweep("two", "", TRIALS, Resources())


def commit(storage: Storage, trial: int, epoch: int, ended: float = 1.0) -> None:
    record = Record(
        number=epoch,
        timestamp_ms=round(ended * 1000),
        loss_train=1.0,
        time_train_seconds=6.0 * (epoch > 0),
        time_evaluate_seconds=1.0,
        time_measure_seconds=None if epoch == 1 else 3.0,
    )
    assert storage.trial(TRIALS[trial].trial_id).commit(record, b"state", "digest", "attempt")


def test_no_time_is_spent_if_nothing_is_stored(tmp_path: Path) -> None:
    found = spending(reconcile(SWEEP, Storage(tmp_path)), Storage(tmp_path))
    assert found.spent == Spent()
    assert found.seconds_left is None


def test_a_sample_is_read_if_there_are_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = tuple(small_trial(seed=seed, epochs=3) for seed in range(12))
    sweep, storage, began = Sweep("many", "", trials, Resources()), Storage(tmp_path), time.time()
    for number, trial in enumerate(trials):
        for epoch in range(3):
            record = Record(number=epoch, timestamp_ms=round(1000 * (began + number + epoch / 4)), loss_train=1.0,
                time_train_seconds=2.0,
            )  # fmt: skip
            assert storage.trial(trial.trial_id).commit(record, b"state", "digest", "attempt")
    with storage.sweep("many").driver_lease:
        plan = reconcile(sweep, storage)
        monkeypatch.setattr(time, "time", lambda: began + 12)
        whole = spending(plan, storage)
        read: list[str] = []
        trial_of = storage.trial
        monkeypatch.setattr(storage, "trial", lambda key: read.append(key) or trial_of(key))
        monkeypatch.setattr("orchestrator.scheduling.forecast.time_spent.MOST_RECORDS", 12)
        some = spending(plan, storage)
    assert len(read) <= 4
    assert {trials[-1].trial_id, trials[-2].trial_id} <= set(read)  # the rate is computed from the most recent ones
    assert some.spent == whole.spent == Spent(training=72.0)
    assert some.seconds_left is not None
    assert whole.seconds_left is not None
    assert some.seconds_left == pytest.approx(whole.seconds_left, rel=0.3)


def test_times_are_summed_over_the_epochs_of_the_sweep(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    for epoch in range(6):
        commit(storage, 0, epoch)
    commit(storage, 1, 0)
    found = spending(reconcile(SWEEP, storage), storage)
    assert found.spent == Spent(training=18.0, evaluating=5.0, measuring=12.0)
    assert found.seconds_left is None


def test_shares_are_formatted_as_one_line() -> None:
    assert split(Spent(4758.0, 312.0, 2730.0)) == [
        "time: training 61%, evaluating 4%, measuring 35% of 2h 10m (trial time)"
    ]
    assert split(Spent()) == []


def test_quantities_are_listed_by_their_share_of_the_time() -> None:
    _, line = split(Spent(measuring=11.0, quantities={"stability": 1.0, "lanczos": 6.0, "my:scale": 3.0}))
    assert line == "measuring: lanczos 60%, my:scale 30%, stability 10%"
    _, line = split(Spent(measuring=28.0, quantities={str(seconds): float(seconds) for seconds in range(1, 8)}))
    assert line == "measuring: 7 25%, 6 21%, 5 18%, 4 14%, 3 11%, 2 more 11%"


def test_times_of_quantities_are_summed_and_failures_kept(tmp_path: Path) -> None:
    storage, trial_id = Storage(tmp_path), TRIALS[0].trial_id
    traceback = "Traceback\nValueError: no samples"
    for number in range(2):
        record = Record(
            number=number,
            timestamp_ms=number,
            loss_train=1.0,
            time_measure_seconds=4.0,
            time_per_quantity={"lanczos": 3.0, "my:scale": 0.5} if number else {"lanczos": 0.5},
            failures={"my:scale": traceback} if number else {},
        )
        assert storage.trial(trial_id).commit(record, b"state", "digest", "attempt")
    commit(storage, 1, 0)  # like records of earlier versions, without times of quantities
    plan = reconcile(SWEEP, storage)
    assert spending(plan, storage).spent.quantities == {"lanczos": 3.5, "my:scale": 0.5}
    assert progress(plan, storage) == [
        f"missing: my:scale raised at 1 record of 1 trial, last in {trial_id}: ValueError: no samples",
        "time: training 0%, evaluating 8%, measuring 92% of 12 s (trial time)",
        "measuring: lanczos 88%, my:scale 12%",
    ]


def test_times_of_quantities_are_scaled_with_a_sample() -> None:
    assert Spent(measuring=2.0, quantities={"lanczos": 1.0}).times(3.0).quantities == {"lanczos": 3.0}


def test_time_left_is_shown_while_a_driver_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.sweep("two").write_manifest(SWEEP, capture())
    commit(storage, 1, 0, ended=time.time() - 3600)  # by an earlier driver, so ignored for the rate of this one
    with storage.sweep("two").driver_lease:
        now = time.time()
        assert len(progress(reconcile(SWEEP, storage), storage)) == 1
        for epoch in range(3):
            commit(storage, 0, epoch, ended=now + epoch)
        plan = reconcile(SWEEP, storage)
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now + 2)
            _, left = progress(plan, storage)
        # The second and third epoch took one second each, and four epochs are missing.
        assert left == "about 4 s left"
    assert len(progress(reconcile(SWEEP, storage), storage)) == 1


def test_rate_is_computed_from_recent_epochs() -> None:
    assert seconds_left(10, [100.0], 0, 110.0) is None
    assert seconds_left(0, [100.0, 101.0], 0, 110.0) is None
    assert seconds_left(10, [105.0, 100.0], 0, 110.0) == 100.0  # one epoch in ten seconds
    assert seconds_left(10, [1.0, 2.0, 105.0, 100.0], 50.0, 110.0) == 100.0
    slow = [float(number) for number in range(0, 2000, 100)]
    fast = [2000.0 + number for number in range(701)]
    assert seconds_left(60, slow + fast, 0, 2700.0) == 60.0
    hours = [3600.0 * number for number in range(20)]
    assert seconds_left(5, hours, 0, hours[-1]) == 5 * 3600  # epochs of one hour: the rate uses the last ten


def test_durations_are_rounded_for_display() -> None:
    spans = (0.4, 45.2, 119.0, 150.0, 41 * 60 + 20, 59.8 * 60, 20400, 47.9 * 3600, 76 * 3600)
    assert [about(seconds) for seconds in spans] == [
        "0 s", "45 s", "119 s", "2 min", "41 min", "1h 00m", "5h 40m", "47h 54m", "3 days 4h",
    ]  # fmt: skip
