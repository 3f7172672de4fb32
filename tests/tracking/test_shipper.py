"""The shipper's loop: takeovers, outages, time limits, messages."""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.lease import Holder
from orchestrator.store.sweep import ShipperStatus
from orchestrator.store.trial_status import State
from orchestrator.tracking.links import view_urls
from orchestrator.tracking.shipper import ship
from orchestrator.tracking.sync import SweepSync
from tests.tracking.processes import (
    IMPATIENT,
    Gate,
    ShipperProcess,
    ShipperThread,
    driving,
    free_port,
    wait_until,
)
from tests.tracking.stored import (
    Shown,
    assert_shows,
    manifest,
    shipper_status,
    shown_trials,
    sweep,
    train,
    trained,
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_follower_ships_while_the_driver_works_and_ends_after_it(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: shipper_status(storage).state == "shipping")
        assert shipper_status(storage).pid == follower.pid
        assert set(Shown(uri).statuses().values()) == {"SCHEDULED"}
        first, second, third, _ = desired.trials
        train(storage, first, 0, 3, State.COMPLETED)
        train(storage, second, 0, 1, started_ms=now_ms())
        train(storage, third, 0, 1, State.FAILED, started_ms=now_ms(), reason="ValueError: odd")
        wait_until(lambda: Shown(uri).statuses()[third.trial_id] == "FAILED")
        shown = assert_shows(uri, storage, desired)
        assert [shown.statuses()[i] for i in desired.by_id] == ["FINISHED", "RUNNING", "FAILED", "SCHEDULED"]
        # The failed trial is retried and runs again.
        train(storage, third, 2, 2, started_ms=now_ms())
        wait_until(lambda: Shown(uri).statuses()[third.trial_id] == "RUNNING")
        assert Shown(uri).outcomes()[third.trial_id] is None
        driver.kill()
        train(storage, second, 2, 2, started_ms=now_ms())  # a worker outlives its driver by a moment
    assert any("shipped to sqlite" in line for line in follower.final_lines())
    shown = assert_shows(uri, storage, desired)
    assert [shown.statuses()[i] for i in desired.by_id] == ["FINISHED", "KILLED", "KILLED", "SCHEDULED"]
    assert shown.outcomes()[second.trial_id] == "interrupted"
    assert (shipper_status(storage).state, shipper_status(storage).pending_records) == ("done", 0)


def test_a_follower_ends_soon_after_the_driver(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: shipper_status(storage).state == "shipping")
        trained(storage.root, desired)
        driver.release()
        ended = time.monotonic()
        follower.final_lines()
        assert time.monotonic() - ended < 5
    assert_shows(uri, storage, desired)


def test_a_second_shipper_waits_for_the_first(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        first = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: shipper_status(storage).pid == first.pid)
        second = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: bool(second.lines()))
        assert f"another shipper is running: process {first.pid}" in second.lines()[0]
        first.kill()
        wait_until(lambda: shipper_status(storage).pid == second.pid)
        trained(storage.root, desired)
        driver.release()
        second.final_lines()
    assert_shows(uri, storage, desired)


def test_epochs_are_shipped_across_outages(server: str, tmp_path: Path) -> None:
    desired, tracker = sweep(name="outage", epochs=5), Gate(server)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "outage") as driver:
        for config in desired.trials:
            train(storage, config, 0, 1, started_ms=now_ms())
        follower = ShipperProcess(storage, "outage", tracker.uri, follow=True)
        wait_until(lambda: shipper_status(storage, "outage").state == "unreachable")
        assert shipper_status(storage, "outage").pending_records == 8
        tracker.open()
        wait_until(lambda: shipper_status(storage, "outage") == ShipperStatus("shipping", "", 0, follower.pid))
        tracker.close()
        for config in desired.trials:
            train(storage, config, 2, 3, started_ms=now_ms())
        wait_until(lambda: shipper_status(storage, "outage").pending_records == 8)
        tracker.open()
        for config in desired.trials:
            train(storage, config, 4, 5, State.COMPLETED, started_ms=now_ms())
        driver.release()
        lines = follower.final_lines()
    assert_shows(server, storage, desired)
    away = [line for line in lines if line.startswith(f"tracker {tracker.uri} cannot be reached (")]
    assert len(away) == 2, lines
    assert "Connection refused" in away[0]
    assert away[0].endswith("; training goes on; 8 records wait")
    assert sum(line.startswith(f"tracker {tracker.uri} is back; ") for line in lines) == 2
    assert f"24 epochs shipped to {tracker.uri}" in lines


def test_an_unreachable_tracker_is_given_up_with_the_command_that_ships(tmp_path: Path, lines: list[str]) -> None:
    storage = trained(tmp_path / "results", sweep())
    uri = f"http://127.0.0.1:{free_port()}"
    result = ship(storage, "toy", uri, follow=True, timing=IMPATIENT)
    assert (result.shipped.records, result.pending.records, result.complete) == (0, 16, False)
    assert lines[0].endswith("; 16 records wait")
    assert lines[-1].startswith(f"16 epochs of sweep toy not shipped: tracker {uri} cannot be reached (")
    command = f"hessian-dynamics ship toy --storage {storage.root} --tracking-uri {uri}"
    assert lines[-1].endswith(command)
    assert (shipper_status(storage).state, shipper_status(storage).message) == ("unreachable", lines[-1])
    assert view_urls(uri, "toy") == {}


def test_passwords_are_neither_logged_nor_stored(tmp_path: Path, lines: list[str]) -> None:
    storage = trained(tmp_path / "results", sweep())
    uri = f"http://me:geheim@127.0.0.1:{free_port()}"
    ship(storage, "toy", uri, timing=IMPATIENT)
    assert lines
    assert "geheim" not in "".join(lines)
    assert "MLFLOW_TRACKING_URI='http://***@127" in lines[-1]
    stored = [path for path in storage.root.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert stored == []


def test_credentials_are_sent_to_the_server_and_not_shown_in_runs(
    server: str, tmp_path: Path, lines: list[str]
) -> None:
    desired = sweep(name="secret")
    storage = trained(tmp_path / "results", desired)
    assert ship(storage, "secret", server.replace("://", "://me:geheim@")).complete
    shown = assert_shows(server, storage, desired)
    assert "geheim" not in str([run.data.tags for run in shown.runs]) + "".join(lines)


def test_a_corrupt_database_raises_nothing(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    storage = trained(tmp_path / "results", sweep())
    result = ship(storage, "toy", f"sqlite:///{tmp_path}/mlflow.db", timing=IMPATIENT)
    assert not result.complete
    assert "file is not a database" in lines[0]


def test_repeated_kills_lose_and_double_nothing(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=2, epochs=30)
    storage = trained(tmp_path / "results", desired)
    database = tmp_path / "mlflow.db"

    def some_rows(count: int) -> Callable[[], bool]:
        return lambda: sum(map(len, _rows(database))) > count

    for count in (0, 2, 4, 600, 1500):
        shipper = ShipperProcess(storage, "toy", uri)
        wait_until(some_rows(count))
        shipper.kill()
    ShipperProcess(storage, "toy", uri).final_lines()
    assert_shows(uri, storage, desired)


def _rows(database: Path) -> list[list[object]]:
    try:
        with sqlite3.connect(database, timeout=10) as connection:
            return [connection.execute(f"select 1 from {table}").fetchall() for table in ("runs", "metrics")]
    except sqlite3.OperationalError:  # the shipper is writing
        return []


def test_an_unknown_sweep_is_refused(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", sweep())
    with pytest.raises(StorageError, match="has no sweep 'tyo'; it has: toy"):
        ship(storage, "tyo", uri)
    with pytest.raises(ValueError, match="no longer writes to"):
        ship(storage, "toy", "./mlruns")


def test_a_refusal_is_distinguished_from_an_outage(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    storage = manifest(tmp_path / "results", sweep(name="taken"))
    monkeypatch.setattr("orchestrator.tracking.runs.labels.trial_params", lambda config: {"no=": "name MLflow takes?"})
    assert not ship(storage, "taken", server, timing=IMPATIENT).complete
    assert lines[0].startswith(f"tracker {server} refuses (INVALID_PARAMETER_VALUE: ")


def test_an_unwritable_artifact_folder_is_one_outage(tmp_path: Path, uri: str, lines: list[str]) -> None:
    (tmp_path / "mlartifacts").write_bytes(b"a file in place of the artifact folder")
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    assert not ship(storage, "toy", uri, timing=replace(IMPATIENT, patience=1.0)).complete
    assert len(lines) == 2
    assert all("mlartifacts" in line for line in lines)
    (tmp_path / "mlartifacts").unlink()
    assert ship(storage, "toy", uri).complete
    assert_shows(uri, storage, desired)


def test_shipper_waits_out_a_short_outage_long_after_the_start(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    update, rounds = SweepSync._round, list[float]()

    def slow_then_broken(self: SweepSync) -> float:
        rounds.append(time.monotonic())
        if len(rounds) == 1:
            time.sleep(0.3)
            raise ConnectionError("gone for a moment")
        return update(self)

    monkeypatch.setattr(SweepSync, "_round", slow_then_broken)
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    assert ship(storage, "toy", uri, timing=replace(IMPATIENT, patience=0.2)).complete
    assert [line.partition(" ")[0] for line in lines] == ["tracker", "tracker", "16"]
    assert_shows(uri, storage, desired)


def test_a_shipper_whose_lease_was_taken_over_ends(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = ShipperThread(storage, "toy", uri)
        follower.start()
        wait_until(lambda: len(shown_trials(uri)) == 4)
        lease = storage.root / "sweeps/toy/ship-lease"
        (held,) = lease.iterdir()
        now = time.time()
        successor = Holder("elsewhere", 7, "0", "another", now, now)
        (lease / "000099.json").write_text(json.dumps({**successor.__dict__}))
        result = follower.ended()
        assert not result.complete
        assert follower.lines[-1].startswith("another shipper took over sweep toy: process 7 on elsewhere, since ")
        assert follower.lines[-1].endswith("; this shipper ends")
        assert held.exists()
        driver.release()
    for file in (held, lease / "000099.json"):  # the successor has ended, and had removed the lease before its own
        file.unlink()
    trained(storage.root, desired)
    assert ship(storage, "toy", uri).complete
    assert_shows(uri, storage, desired)


def test_two_shippers_create_one_run_per_trial(server: str, tmp_path: Path) -> None:
    desired = sweep(seeds=4, epochs=20, name="twice")
    storage = trained(tmp_path / "results", desired)
    both = [ShipperProcess(storage, "twice", server), ShipperProcess(storage, "twice", server)]
    lines = [each.final_lines() for each in both]
    assert_shows(server, storage, desired)
    assert sorted("waiting for it to end" in said[0] for said in lines) == [False, True]
