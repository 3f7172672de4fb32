"""The tables of a sweep from the store."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.frames import FACTS, NAMES, TrialFacts, assemble, read_frames, sample_columns
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import SCALARS, VECTORS
from orchestrator.study.sweep import Resources, Sweep
from tests.store import stored


def _sweep(epochs: int = 2) -> Sweep:
    trials = tuple(stored.config(seed=seed, epochs=epochs) for seed in (0, 1, 2, 3))
    return Sweep("toy", "", trials, Resources())


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Seed 0 is completed (with one epoch more than requested), seed 1 diverged, seed 2 failed, seed 3 is pending."""
    sweep, storage = _sweep(), Storage(tmp_path)
    storage.sweep("toy").write_manifest(sweep, stored.PROVENANCE)
    whole, diverged, failed, _ = (storage.trial(trial_id) for trial_id in sweep.by_id)
    for epoch in range(4):
        record = replace(stored.record(epoch), lanczos_history=(1.0, 2.0 + epoch))
        whole.commit(record, b"state", "data", "1000-abc")
    whole.write_attempt(stored.attempt(ended="completed"))
    whole.remeasurements.add("fraction-0.5", stored.remeasured(2))
    whole.remeasurements.add("fraction-0.5", stored.remeasured(3))
    diverged.commit(stored.record(0), b"state", "data", "1000-abc")
    diverged.commit(stored.record(1, loss=math.inf), b"state", "data", "1000-abc")
    failed.commit(stored.record(0), b"state", "data", "1000-abc")
    failed.write_attempt(stored.attempt(ended="failed", reason="Traceback\nRuntimeError: http://me:secret@there"))
    return storage


def test_epochs_are_rows_and_quantities_are_columns(storage: Storage) -> None:
    frame = read_frames(storage, "toy").epochs
    assert list(frame.columns[:3]) == ["trial_id", "epoch", "step"]
    assert list(frame.columns[3 : 3 + len(SCALARS)]) == [quantity.column for quantity in SCALARS]
    whole = next(iter(_sweep().by_id))
    rows = frame[frame.trial_id == whole]
    assert rows.epoch.tolist() == [0, 1, 2], "later epochs belong to another sweep"
    assert rows.hessian_trace.tolist() == [0, 1 / 3, 2 / 3]
    assert rows.accuracy_ood.isna().all(), "not measured"


def test_infinities_are_kept(storage: Storage) -> None:
    frame = read_frames(storage, "toy").epochs
    diverged = list(_sweep().by_id)[1]
    assert frame[frame.trial_id == diverged].loss_train.tolist() == [0.5, math.inf]


def test_remeasured_values_have_columns_with_their_label(storage: Storage) -> None:
    frame = read_frames(storage, "toy").epochs
    again = frame[frame["fraction-0.5/hessian_trace"].notna()]
    assert again.epoch.tolist() == [2]
    assert again["fraction-0.5/hessian_trace"].tolist() == [2 / 7]


def test_a_trial_is_a_row_with_its_config_and_state(storage: Storage) -> None:
    frame = read_frames(storage, "toy").trials
    assert set(FACTS) < set(frame.columns)
    assert frame.state.tolist() == ["completed", "diverged", "failed", "pending"]
    assert frame.last_epoch.tolist() == [2, 1, 0, -1]
    assert frame.seed.tolist() == [0, 1, 2, 3]
    assert frame["optimizer.lr"].tolist() == [0.05] * 4
    assert frame["measurement.estimators"].tolist() == ["lanczos, algorithm1"] * 4
    assert frame.failure[2] == "RuntimeError: http://***@there"
    assert frame.failure.isna().tolist() == [True, True, False, True]
    assert frame.processor[0] == "a processor"


def test_fields_of_one_optimizer_are_empty_for_another() -> None:
    trials = (stored.config(), stored.config(optimizer={"name": "adam", "lr": 0.001}))
    sweep = Sweep("toy", "", trials, Resources())
    frame = assemble(sweep, stored.PROVENANCE, [TrialFacts(trial, State.PENDING) for trial in trials]).trials
    assert frame["optimizer.beta1"].isna().tolist() == [True, False]
    assert frame["optimizer.beta1"].dtype == np.float64


def test_vectors_are_in_a_separate_table(storage: Storage) -> None:
    frame = read_frames(storage, "toy").samples
    assert list(frame.columns) == ["trial_id", "epoch", *(quantity.column for quantity in VECTORS)]
    assert [list(row) for row in frame.lanczos_history] == [[1.0, 2.0], [1.0, 3.0], [1.0, 4.0]]


def test_names_of_vector_values_are_kept() -> None:
    key, column = VECTORS[0].key, VECTORS[0].column
    named = sample_columns({key: {"0.weight": 2.0, "0.bias": 1.0}})
    plain = sample_columns({key: [3.0]})
    trial = stored.config()
    facts = TrialFacts(trial, State.COMPLETED, {0: {}, 1: {}}, {0: named, 1: plain})
    frame = assemble(Sweep("toy", "", (trial,), Resources()), stored.PROVENANCE, [facts]).samples
    assert frame[column].tolist() == [[2.0, 1.0], [3.0]]
    assert frame[f"{column}{NAMES}"].tolist() == [["0.weight", "0.bias"], None]


def test_measured_values_are_counted(storage: Storage) -> None:
    assert read_frames(storage, "toy").points == 6 * 2 + 1


def test_a_sweep_without_any_epoch_has_empty_tables(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.sweep("toy").write_manifest(_sweep(), stored.PROVENANCE)
    frames = read_frames(storage, "toy")
    assert (len(frames.epochs), len(frames.samples), len(frames.trials)) == (0, 0, 4)


def test_a_sweep_that_was_never_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has no sweep 'toy'; it has: none"):
        read_frames(Storage(tmp_path), "toy")


def test_300_000_points_are_assembled() -> None:
    trials = tuple(
        TrialConfig.model_validate({**stored.config().model_dump(), "seed": seed, "epochs": 100}) for seed in range(150)
    )
    row = {quantity.column: 1.0 for quantity in SCALARS}
    facts = [TrialFacts(trial, State.COMPLETED, dict.fromkeys(range(101), row)) for trial in trials]
    frames = assemble(Sweep("toy", "", trials, Resources()), stored.PROVENANCE, facts)
    assert frames.points >= 280_000
