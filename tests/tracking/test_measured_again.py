"""What was measured again, shipped to real trackers as new keys of the same runs, and read back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.remeasurements import Remeasurement
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.afterwards import ship_afterwards
from orchestrator.tracking.shipper import ship
from orchestrator.tracking.tracked_run import BATCH_METRICS
from tests.tracking.processes import Shipping, driving, free_port, release, wait_until
from tests.tracking.stored import (
    DIGEST,
    PROVENANCE,
    T0,
    Shown,
    expected_points,
    manifest,
    rows,
    sweep,
    train,
    trained,
)

LABEL = "fraction-0.5"
LATER = T0 + 1_000_000


def measure(storage: Storage, config: TrialConfig, *epochs: int, label: str = LABEL) -> None:
    for epoch in epochs:
        record = EpochRecord(
            epoch=epoch,
            timestamp_ms=LATER - epoch,  # not in the order of the epochs
            hessian_lambda_max=1 / (epoch + 3),
            hessian_trace=epoch / 7,
            gradient_norm=0.1 * config.seed,
            time_measure_seconds=2.5,
            lanczos_history=(0.1, 1 / (epoch + 3)),
        )
        measured = Remeasurement(record, MeasurementConfig(fraction=0.5), "c" * 64, DIGEST, PROVENANCE, {"threads": 1})
        assert storage.trial(config.trial_id).remeasurements.add(label, measured)


def expected(storage: Storage, config: TrialConfig) -> list[tuple[str, int, int, str]]:
    measurements = storage.trial(config.trial_id).remeasurements
    again = [
        (f"{label}/{key}", record.epoch, record.timestamp_ms, repr(value))
        for label in measurements.labels()
        for record in measurements.records(label, config.epochs)
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
def test_new_keys_of_finished_runs(
    tracker: str, tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str], request: pytest.FixtureRequest
) -> None:
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    desired = sweep(name=f"again-{tracker}")
    storage = trained(tmp_path / "results", desired)
    ship(storage, desired.name, uri, False, say)
    before = Shown(uri, desired.name)
    first, second, *_ = desired.trials
    measure(storage, first, 0, 3)
    measure(storage, second, 3)
    measure(storage, first, 2, label="estimators-lanczos_lanczos_products-20")
    measure(storage, first, 5)  # another sweep has trained it further
    result = ship(storage, desired.name, uri, False, say)
    assert (result.shipped_epochs, result.shipped_measurements, result.complete) == (0, 4, True)
    assert lines[-1] == f"4 measurements from checkpoints shipped to {uri}"
    shown = assert_shows(uri, storage, desired)
    for trial_id, run in before.trials.items():
        now = shown.trials[trial_id]
        assert (now.info.run_id, now.info.end_time) == (run.info.run_id, run.info.end_time)
        assert now.info.status == "FINISHED"
        assert now.data.metrics.items() >= run.data.metrics.items()
    assert artifact(shown, first, tmp_path) == [
        {"epoch": epoch, "lanczos/history": [0.1, 1 / (epoch + 3)]} for epoch in (0, 3)
    ]
    tags = shown.trials[first.trial_id].data.tags
    assert tags[f"measured_again.{LABEL}"].startswith("2 checkpoints (")
    assert tags["measured_again.estimators-lanczos_lanczos_products-20"].startswith("1 checkpoint (")


def test_shipping_twice_changes_nothing(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    measure(storage, desired.trials[0], 0, 3)
    ship(storage, "toy", uri, False, say)
    before = rows(tmp_path / "mlflow.db")
    assert ship(storage, "toy", uri, False, say).shipped_measurements == 0
    assert rows(tmp_path / "mlflow.db") == before


def test_epochs_between_and_points_that_are_there_are_one_point_each(
    tmp_path: Path, uri: str, say: Callable[[str], None]
) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    config = desired.trials[0]
    measure(storage, config, 0, 3)
    ship(storage, "toy", uri, False, say)
    measure(storage, config, 1)  # between those that are shipped
    assert ship(storage, "toy", uri, False, say).shipped_measurements == 3
    shown = assert_shows(uri, storage, desired)
    assert [row["epoch"] for row in artifact(shown, config, tmp_path)] == [0, 1, 3]
    run_id = shown.trials[config.trial_id].info.run_id
    shown.client.delete_tag(run_id, f"measured_again.{LABEL}")  # as if killed before the tag
    assert ship(storage, "toy", uri, False, say).shipped_measurements == 3
    assert_shows(uri, storage, desired)


def test_an_empty_tracker_is_filled_from_the_store(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    for config in desired.trials:
        measure(storage, config, 0, 2, 3)
    ship(storage, "toy", uri, False, say)
    other = f"sqlite:///{tmp_path}/other.db"
    result = ship(storage, "toy", other, False, say)
    assert (result.shipped_epochs, result.shipped_measurements) == (16, 12)
    assert_shows(other, storage, desired)


def test_more_points_than_a_request_takes(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep(seeds=1, epochs=BATCH_METRICS // 4 + 10)
    storage = manifest(tmp_path / "results", desired)
    config = desired.trials[0]
    train(storage, config, 0, 1)
    measure(storage, config, *range(config.epochs + 1))
    ship(storage, "toy", uri, False, say)
    assert_shows(uri, storage, desired)


def test_what_is_measured_while_a_follower_is_at_work_is_shipped_though_the_trial_has_ended(
    tmp_path: Path, uri: str
) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    ended, going = desired.trials
    train(storage, ended, 0, 3, State.COMPLETED)
    with driving(storage, "toy") as driver:
        follower = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: len(_trials(uri)) == 2 and Shown(uri).statuses()[ended.trial_id] == "FINISHED")
        measure(storage, ended, 3)
        wait_until(lambda: f"{LABEL}/hessian/trace" in Shown(uri).trials[ended.trial_id].data.metrics)
        train(storage, going, 0, 3, State.COMPLETED)
        measure(storage, going, 3)
        release(driver)
    assert follower.said()[-2] == f"8 epochs and 2 measurements from checkpoints shipped to {uri}"
    assert_shows(uri, storage, desired)


def _trials(uri: str) -> dict[str, Any]:
    try:
        return Shown(uri).trials  # type: ignore[return-value]
    except (AssertionError, ValueError):  # the follower has not made them all yet
        return {}


def test_a_tracker_that_is_away_is_named_with_what_ships_later(
    tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.shipper.ONE_SHOT_PATIENCE_SECONDS", 0.1)
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri, False, say)
    measure(storage, desired.trials[0], 0, 3)
    away = f"http://127.0.0.1:{free_port()}"
    ship_afterwards(storage, "toy", away, say)
    assert "16 epochs and 2 measurements from checkpoints wait" in lines[-2]
    assert lines[-1].startswith("16 epochs and 2 measurements from checkpoints of sweep toy not shipped: tracker ")
    assert lines[-1].endswith(
        f"once that is mended: hessian-dynamics ship toy --storage {storage.root} --tracking-uri {away}"
    )
    ship_afterwards(storage, "toy", uri, say)
    assert lines[-2] == f"2 measurements from checkpoints shipped to {uri}"
    assert lines[-1].startswith("curves: make ui, then http://127.0.0.1:5000/#/experiments/")


def test_without_mlflow_the_command_that_ships_later_is_said(
    tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    storage = trained(tmp_path / "results", sweep())
    ship_afterwards(storage, "toy", uri, say)
    (line,) = lines
    assert "which is not installed; install it with: pip install 'hessian-dynamics[sweep]'" in line
    assert line.endswith(f"then: hessian-dynamics ship toy --storage {storage.root} --tracking-uri {uri}")


def test_a_damaged_measurement_is_the_storages_fault_and_named(
    tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.shipper.ONE_SHOT_PATIENCE_SECONDS", 0.1)
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    measure(storage, desired.trials[0], 3)
    path = storage.root / "trials" / desired.trials[0].trial_id / "measurements" / LABEL / "00003.json"
    path.write_text("{")
    assert not ship(storage, "toy", uri, False, say).complete
    assert f"{path} is damaged; delete it, and measure again" in lines[-1]
    with pytest.raises(StorageError):
        storage.trial(desired.trials[0].trial_id).remeasurements.read(LABEL, 3)
    path.unlink()
    assert ship(storage, "toy", uri, False, say).complete
    shutil.rmtree(path.parent)
    assert ship(storage, "toy", uri, False, say).complete
