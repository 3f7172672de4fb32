"""Points in a real tracker."""

import math
from pathlib import Path

from orchestrator.store.trial_status import State
from orchestrator.study.record import SCALARS, Record
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import (
    DIGEST,
    T0,
    Shown,
    assert_shows,
    expected_points,
    manifest,
    record,
    sweep,
    train,
)


def test_mlflow_accepts_the_key_of_every_quantity(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    every = Record.from_json(
        {**record(0).to_json(), **{q.column: 1.5 for q in SCALARS if q.key != "loss/train"}, "time_train_seconds": 2.0}
    )
    storage.trial(desired.trials[0].trial_id).commit(every, b"", DIGEST, "a")
    ship(storage, "toy", uri)
    points = Shown(uri).points(desired.trials[0].trial_id)
    assert points == expected_points(storage, desired.trials[0])
    assert {key for key, *_ in points} == {quantity.key for quantity in SCALARS}


def test_infinity_is_shipped_as_nan(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    storage.trial(desired.trials[0].trial_id).commit(record(0, loss=math.inf), b"", DIGEST, "a")
    ship(storage, "toy", uri)
    assert ("loss/train", 0, T0, "nan") in Shown(uri).points(desired.trials[0].trial_id)


def test_points_shipped_twice_are_stored_once(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:
        train(storage, config, 0, 3, State.DIVERGED)  # includes NaN, which is not equal to itself
    ship(storage, "toy", uri)
    shown = Shown(uri)
    for run in shown.trials.values():
        shown.client.set_tag(run.info.run_id, "shipped_epoch", "-1")
    assert ship(storage, "toy", uri).shipped.records == 16
    assert_shows(uri, storage, desired)
