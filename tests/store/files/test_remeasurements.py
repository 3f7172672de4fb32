"""A remeasurement is stored atomically, and only once."""

import math
from pathlib import Path

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.trial import TrialStore
from orchestrator.study.record import Record
from tests.store.stored import files_in, python, remeasured
from tests.store.trials import LABEL, measure


def test_reading_without_remeasurements_creates_no_file(tmp_path: Path, trial: TrialStore) -> None:
    assert trial.remeasurements.labels() == []
    assert trial.remeasurements.numbers(LABEL) == []
    assert list(trial.remeasurements.records(LABEL, 99)) == []
    assert files_in(tmp_path) == []


def test_a_remeasurement_is_read_as_stored(tmp_path: Path, trial: TrialStore) -> None:
    measure(trial, 10, 5)
    measure(trial, 5, label="estimators-lanczos")
    assert trial.remeasurements.read(LABEL, 5) == remeasured(5)
    assert trial.remeasurements.labels() == ["estimators-lanczos", LABEL]
    assert trial.remeasurements.numbers(LABEL) == [5, 10]
    assert list(trial.remeasurements.records(LABEL, 9)) == [remeasured(5).record]
    assert [name.removeprefix(f"trials/{trial.trial_id}/") for name in files_in(tmp_path)] == [
        "measurements/estimators-lanczos/00005.json",
        "measurements/fraction-0.5/00005.json",
        "measurements/fraction-0.5/00010.json",
    ]


def test_remeasurement_is_stored_bit_for_bit(trial: TrialStore) -> None:
    odd = Record(
        number=0,
        timestamp_ms=5,
        hessian_lambda_max=math.inf,
        hessian_lambda_min=-0.0,
        hessian_trace=0.1 + 0.2,
        algorithm1_trace_samples=(math.nan, -math.inf, 5e-324),
    )
    assert trial.remeasurements.add(LABEL, remeasured(0, record=odd))
    assert trial.remeasurements.read(LABEL, 0).record.differences(odd) == {}


def test_the_first_remeasurement_is_kept(trial: TrialStore) -> None:
    measure(trial, 5)
    assert not trial.remeasurements.add(LABEL, remeasured(5, timestamp_ms=1))
    assert trial.remeasurements.read(LABEL, 5) == remeasured(5)


def test_a_damaged_remeasurement_is_reported(tmp_path: Path, trial: TrialStore) -> None:
    measure(trial, 5)
    path = tmp_path / "trials" / trial.trial_id / "measurements" / LABEL / "00005.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError) as caught:
        trial.remeasurements.read(LABEL, 5)
    assert str(caught.value) == f"{path} is damaged; delete it, and measure again"


def test_a_remeasurement_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    code = """
        existed = set()
        for step in range(40):
            trial = TrialStore(DiskFiles(stored.Path(sys.argv[1]) / str(step)), stored.config().trial_id)

            def work(number):
                die_at(step)
                trial.remeasurements.add("label", stored.remeasured(3))

            (code,) = each(1, work)
            exists = trial.remeasurements.labels() == ["label"]
            existed.add(exists)
            assert trial.remeasurements.numbers("label") == ([3] if exists else [])
            assert trial.remeasurements.add("label", stored.remeasured(3)) is not exists
            assert trial.remeasurements.read("label", 3) == stored.remeasured(3), step
            if code == 0:
                break
            assert code == 42, code
        assert existed == {False, True}
    """
    python(code, tmp_path)
