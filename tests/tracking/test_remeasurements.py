"""Remeasured checkpoints are shipped under new keys of the same runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs.tracked_run import BATCH_METRICS
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import (
    ShipperProcess,
    driving,
    wait_until,
)
from tests.tracking.stored import (
    LABEL,
    Shown,
    expected_points,
    manifest,
    measure,
    rows,
    shown_trials,
    sweep,
    train,
    trained,
)


def expected(storage: Storage, config: TrialConfig) -> list[tuple[str, int, int, str]]:
    measurements = storage.trial(config.trial_id).remeasurements
    again = [
        (f"{label}/{key}", record.epoch, record.timestamp_ms, repr(value))
        for label in measurements.labels()
        for record in measurements.records(label, config.records)
        for key, value in record.metrics().items()
    ]
    return sorted(expected_points(storage, config) + again)


def assert_shows(uri: str, storage: Storage, desired: Sweep) -> Shown:
    shown = Shown(uri, desired.name)
    for trial_id, config in desired.by_id.items():
        assert shown.points(trial_id) == expected(storage, config)
    return shown


def artifact(shown: Shown, config: TrialConfig, folder: Path, label: str = LABEL) -> list[dict[str, Any]]:
    content = shown.artifact(shown.trials[config.trial_id], f"curvature-{label}.json", folder)
    return json.loads(content)  # type: ignore[no-any-return]


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_finished_runs_get_new_keys(
    tracker: str, tmp_path: Path, uri: str, lines: list[str], request: pytest.FixtureRequest
) -> None:
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    desired = sweep(name=f"again-{tracker}")
    storage = trained(tmp_path / "results", desired)
    ship(storage, desired.name, uri)
    before = Shown(uri, desired.name)
    first, second, *_ = desired.trials
    measure(storage, first, 0, 3)
    measure(storage, second, 3)
    measure(storage, first, 2, label="estimators-lanczos_lanczos_products-20")
    measure(storage, first, 5)  # another sweep has trained it further
    result = ship(storage, desired.name, uri)
    assert (result.shipped.records, result.shipped.measurements, result.complete) == (0, 4, True)
    assert lines[-1] == f"4 measurements from checkpoints shipped to {uri}"
    shown = assert_shows(uri, storage, desired)
    for trial_id, run in before.trials.items():
        now = shown.trials[trial_id]
        assert (now.info.run_id, now.info.end_time) == (run.info.run_id, run.info.end_time)
        assert now.info.status == "FINISHED"
        assert now.data.metrics.items() >= run.data.metrics.items()
    assert artifact(shown, first, tmp_path) == [
        {"number": epoch, "epoch": epoch, "lanczos/history": [0.1, 1 / (epoch + 3)]} for epoch in (0, 3)
    ]
    tags = shown.trials[first.trial_id].data.tags
    assert tags[f"measured_again.{LABEL}"].startswith("2 checkpoints (")
    assert tags["measured_again.estimators-lanczos_lanczos_products-20"].startswith("1 checkpoint (")


def test_shipping_twice_changes_nothing(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    measure(storage, desired.trials[0], 0, 3)
    ship(storage, "toy", uri)
    before = rows(tmp_path / "mlflow.db")
    assert ship(storage, "toy", uri).shipped.measurements == 0
    assert rows(tmp_path / "mlflow.db") == before


def test_remeasured_points_shipped_twice_are_stored_once(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    config = desired.trials[0]
    measure(storage, config, 0, 3)
    ship(storage, "toy", uri)
    measure(storage, config, 1)  # between those that are shipped
    assert ship(storage, "toy", uri).shipped.measurements == 3
    shown = assert_shows(uri, storage, desired)
    assert [row["epoch"] for row in artifact(shown, config, tmp_path)] == [0, 1, 3]
    run_id = shown.trials[config.trial_id].info.run_id
    shown.client.delete_tag(run_id, f"measured_again.{LABEL}")  # as if killed before the tag
    assert ship(storage, "toy", uri).shipped.measurements == 3
    assert_shows(uri, storage, desired)


def test_an_empty_tracker_is_filled_from_the_store(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    for config in desired.trials:
        measure(storage, config, 0, 2, 3)
    ship(storage, "toy", uri)
    other = f"sqlite:///{tmp_path}/other.db"
    result = ship(storage, "toy", other)
    assert (result.shipped.records, result.shipped.measurements) == (16, 12)
    assert_shows(other, storage, desired)


def test_points_that_exceed_one_request(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=BATCH_METRICS // 4 + 10)
    storage = manifest(tmp_path / "results", desired)
    config = desired.trials[0]
    train(storage, config, 0, 1)
    measure(storage, config, *range(config.records + 1))
    ship(storage, "toy", uri)
    assert_shows(uri, storage, desired)


def test_remeasurements_of_ended_trials_are_followed(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    ended, going = desired.trials
    train(storage, ended, 0, 3, State.COMPLETED)
    with driving(storage, "toy") as driver:
        follower = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: len(shown_trials(uri)) == 2 and Shown(uri).statuses()[ended.trial_id] == "FINISHED")
        measure(storage, ended, 3)
        wait_until(lambda: f"{LABEL}/hessian/trace" in Shown(uri).trials[ended.trial_id].data.metrics)
        train(storage, going, 0, 3, State.COMPLETED)
        measure(storage, going, 3)
        driver.release()
    assert follower.final_lines()[-2] == f"8 epochs and 2 measurements from checkpoints shipped to {uri}"
    assert_shows(uri, storage, desired)


def test_a_damaged_measurement_is_attributed_to_the_storage(
    tmp_path: Path, uri: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    measure(storage, desired.trials[0], 3)
    path = storage.root / "trials" / desired.trials[0].trial_id / "measurements" / LABEL / "00003.json"
    path.write_text("{")
    assert not ship(storage, "toy", uri).complete
    assert f"{path} is damaged; delete it, and measure again" in lines[-1]
    with pytest.raises(StorageError):
        storage.trial(desired.trials[0].trial_id).remeasurements.read(LABEL, 3)
    path.unlink()
    assert ship(storage, "toy", uri).complete
    shutil.rmtree(path.parent)
    assert ship(storage, "toy", uri).complete
