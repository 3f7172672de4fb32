"""Damaged files of one trial do not affect the others."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.links import ship_command
from orchestrator.tracking.runs.labels import SHIPPED_RECORD
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import DIGEST, Shown, assert_shows, expected_points, rows, sweep, trained


@pytest.mark.parametrize(
    ("content", "epoch"), [(b"\0" * 10, 0), (b"{}", 2), (b'{"record": {}}', 3), (b"", 0), (b"", 3)]
)
def test_a_damaged_epoch_does_not_affect_other_trials(
    epoch: int, content: bytes, tmp_path: Path, uri: str, lines: list[str]
) -> None:
    desired = sweep(seeds=1)
    storage = trained(tmp_path / "results", desired)
    first, hurt, *others = desired.trials
    damaged = storage.root / "trials" / hurt.trial_id / "epochs" / f"{epoch:05d}.json"
    whole = damaged.read_bytes()
    damaged.write_bytes(content)
    result = ship(storage, "toy", uri)
    assert not result.complete
    assert len(lines) == 2, "no outage"
    assert lines[0].startswith(f"trial {hurt.trial_id}: ")
    assert "is damaged" in lines[0]
    assert lines[0].endswith("; the other trials are shipped")
    assert f", except for damaged files of 1 trial: trial {hurt.trial_id}: " in lines[1]
    assert lines[1].endswith(f"once that is fixed: {ship_command(storage.root, 'toy', uri)}")
    status = storage.sweep("toy").shipper_status()
    assert status is not None
    assert (status.state, status.message) == ("damaged", lines[1])
    shown = Shown(uri)
    for config in (first, *others):
        assert shown.points(config.trial_id) == expected_points(storage, config)
        assert shown.statuses()[config.trial_id] == "FINISHED"
    assert {point[1] for point in shown.points(hurt.trial_id)} == set(range(epoch))
    assert "is damaged" in shown.trials[hurt.trial_id].data.tags["damage"]
    assert "RUNNING" not in shown.statuses().values()
    assert shown.sweep_run.info.status == "KILLED"
    damaged.write_bytes(whole)  # in place, so the folder's timestamp is unchanged
    assert ship(storage, "toy", uri).complete
    repaired = assert_shows(uri, storage, desired)
    assert set(repaired.statuses().values()) == {"FINISHED"}
    assert "damage" not in repaired.trials[hurt.trial_id].data.tags


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("shipped_before", [False, True])
def test_a_recomputed_epoch_is_shipped_once(epoch: int, shipped_before: bool, tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = trained(tmp_path / "results", desired)
    trial = storage.trial(desired.trials[1].trial_id)
    if shipped_before:
        ship(storage, "toy", uri)
    path = storage.root / "trials" / trial.trial_id / "epochs" / f"{epoch:05d}.json"
    content = path.read_bytes()
    path.write_bytes(b"")
    assert trial.set_aside_damaged() == [epoch]
    ship(storage, "toy", uri)
    path.write_bytes(content)
    ship(storage, "toy", uri)
    shown = assert_shows(uri, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}


@pytest.mark.parametrize(
    ("epoch", "shipped_before", "later_ms"),
    [(1, 3, 0), (3, 3, 0), (0, 3, 0), (2, 1, 0), (3, 3, 5000)],
    ids=["shipped", "last epoch", "first epoch", "only its points were shipped", "its time was lost"],
)
def test_an_epoch_recomputed_with_other_times_is_shown_as_stored(
    epoch: int, shipped_before: int, later_ms: int, tmp_path: Path, uri: str, lines: list[str]
) -> None:
    desired = sweep(seeds=1)
    storage = trained(tmp_path / "results", desired)
    trial = storage.trial(desired.trials[1].trial_id)
    ship(storage, "toy", uri)
    if shipped_before < 3:  # a killed shipper sent the points, but not the cursor
        shown = Shown(uri)
        shown.client.set_tag(shown.trials[trial.trial_id].info.run_id, SHIPPED_RECORD, str(shipped_before))
    first = trial.read(epoch).record
    again = replace(first, timestamp_ms=first.timestamp_ms + later_ms, time_measure_seconds=99.5)
    (storage.root / "trials" / trial.trial_id / "epochs" / f"{epoch:05d}.json").write_bytes(b"")
    trial.set_aside_damaged()
    assert trial.commit(again, b"state", DIGEST, "again")
    del lines[:]
    ship(storage, "toy", uri)
    assert lines[0] == f"trial {trial.trial_id}: records were computed again after damage; its run is replaced"
    after = rows(tmp_path / "mlflow.db")
    shown = assert_shows(uri, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}
    assert ship(storage, "toy", uri).shipped.records == 0
    assert rows(tmp_path / "mlflow.db") == after


def test_a_damaged_attempt_does_not_affect_epochs(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = trained(tmp_path / "results", desired)
    (attempt,) = (storage.root / "trials" / desired.trials[0].trial_id / "attempts").iterdir()
    attempt.write_bytes(b"{")
    result = ship(storage, "toy", uri)
    assert (result.complete, result.shipped.records) == (True, 8)
