"""A follower beside a driver, and what it does while the tracker is away."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.store.trial_status import State
from orchestrator.tracking import shipper
from orchestrator.tracking.follower import start_follower, wait_for_end, wait_for_follower
from orchestrator.tracking.links import where_to_look
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import (
    Gate,
    Shipping,
    driving,
    free_port,
    kill,
    release,
    wait_until,
)
from tests.tracking.stored import Shown, assert_shows, manifest, sweep, train, trained


def state(storage: Storage, name: str = "toy") -> ShipperStatus:
    status = storage.sweep(name).shipper_status()
    return status or ShipperStatus("none", "", 0, 0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_follower_ships_while_the_driver_works_and_ends_after_it(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: state(storage).state == "shipping")
        assert state(storage).pid == follower.pid
        assert set(Shown(uri).statuses().values()) == {"SCHEDULED"}
        first, second, third, _ = desired.trials
        train(storage, first, 0, 3, State.COMPLETED)
        train(storage, second, 0, 1, started_ms=now_ms())
        train(storage, third, 0, 1, State.FAILED, started_ms=now_ms(), reason="ValueError: odd")
        wait_until(lambda: Shown(uri).statuses()[third.trial_id] == "FAILED")
        shown = assert_shows(uri, storage, desired)
        assert [shown.statuses()[i] for i in desired.by_id] == ["FINISHED", "RUNNING", "FAILED", "SCHEDULED"]
        # Tried again, it runs again.
        train(storage, third, 2, 2, started_ms=now_ms())
        wait_until(lambda: Shown(uri).statuses()[third.trial_id] == "RUNNING")
        assert Shown(uri).outcomes()[third.trial_id] is None
        kill(driver)
        train(storage, second, 2, 2, started_ms=now_ms())  # a worker outlives its driver by a moment
    assert any("shipped to sqlite" in line for line in follower.said())
    shown = assert_shows(uri, storage, desired)
    assert [shown.statuses()[i] for i in desired.by_id] == ["FINISHED", "KILLED", "KILLED", "SCHEDULED"]
    assert shown.outcomes()[second.trial_id] == "interrupted"
    assert (state(storage).state, state(storage).pending_epochs) == ("done", 0)


def test_a_follower_ends_soon_after_a_driver_that_has_done_everything(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: state(storage).state == "shipping")
        trained(storage.root, desired)
        release(driver)
        ended = time.monotonic()
        follower.said()
        assert time.monotonic() - ended < 5
    assert_shows(uri, storage, desired)


def test_a_second_shipper_waits_its_turn_and_takes_over(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        first = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: state(storage).pid == first.pid)
        second = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: bool(second.lines()))
        assert f"another ship is at work: process {first.pid}" in second.lines()[0]
        first.kill()
        wait_until(lambda: state(storage).pid == second.pid)
        trained(storage.root, desired)
        release(driver)
        second.said()
    assert_shows(uri, storage, desired)


def test_the_tracker_may_come_later_and_go_and_come_back(server: str, tmp_path: Path) -> None:
    desired, tracker = sweep(name="outage", epochs=5), Gate(server)
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "outage") as driver:
        for config in desired.trials:
            train(storage, config, 0, 1, started_ms=now_ms())
        follower = Shipping(storage, "outage", tracker.uri, follow=True)
        wait_until(lambda: state(storage, "outage").state == "unreachable")
        assert state(storage, "outage").pending_epochs == 8
        tracker.open()
        wait_until(lambda: state(storage, "outage") == ShipperStatus("shipping", "", 0, follower.pid))
        tracker.close()
        for config in desired.trials:
            train(storage, config, 2, 3, started_ms=now_ms())
        wait_until(lambda: state(storage, "outage").pending_epochs == 8)
        tracker.open()
        for config in desired.trials:
            train(storage, config, 4, 5, State.COMPLETED, started_ms=now_ms())
        release(driver)
        lines = follower.said()
    assert_shows(server, storage, desired)
    away = [line for line in lines if line.startswith(f"tracker {tracker.uri} cannot be reached (")]
    assert len(away) == 2, lines
    assert "Connection refused" in away[0]
    assert away[0].endswith("; training goes on; 8 epochs wait")
    assert sum(line.startswith(f"tracker {tracker.uri} is back; ") for line in lines) == 2
    assert f"24 epochs shipped to {tracker.uri}" in lines


def test_what_a_dead_tracker_never_took_is_named_with_the_command_that_ships_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "PATIENCE_SECONDS", 0.5)
    storage = trained(tmp_path / "results", sweep())
    uri, lines = f"http://127.0.0.1:{free_port()}", list[str]()
    result = ship(storage, "toy", uri, True, lines.append)
    assert (result.shipped_epochs, result.pending_epochs, result.complete) == (0, 16, False)
    assert lines[0].endswith("; 16 epochs wait")
    assert lines[-1].startswith(f"16 epochs of sweep toy not shipped: tracker {uri} cannot be reached (")
    command = f"hessian-dynamics ship toy --storage {storage.root} --tracking-uri {uri}"
    assert lines[-1].endswith(command)
    assert (state(storage).state, state(storage).message) == ("unreachable", lines[-1])
    assert where_to_look(uri, "toy") is None


def test_a_password_is_neither_said_nor_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 0.1)
    storage = trained(tmp_path / "results", sweep())
    uri, lines = f"http://me:geheim@127.0.0.1:{free_port()}", list[str]()
    ship(storage, "toy", uri, False, lines.append)
    assert lines
    assert "geheim" not in "".join(lines)
    assert "MLFLOW_TRACKING_URI='http://***@127" in lines[-1]
    stored = [path for path in storage.root.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert stored == []


def test_credentials_reach_the_server_and_not_its_runs(server: str, tmp_path: Path) -> None:
    desired = sweep(name="secret")
    storage = trained(tmp_path / "results", desired)
    lines = list[str]()
    assert ship(storage, "secret", server.replace("://", "://me:geheim@"), False, lines.append).complete
    shown = assert_shows(server, storage, desired)
    assert "geheim" not in str([run.data.tags for run in shown.runs]) + "".join(lines)


def test_a_tracker_that_answers_with_errors_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 0.1)
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    storage = trained(tmp_path / "results", sweep())
    lines = list[str]()
    result = ship(storage, "toy", f"sqlite:///{tmp_path}/mlflow.db", False, lines.append)
    assert not result.complete
    assert "file is not a database" in lines[0]


def test_a_follower_of_its_own_session_outlives_the_driver(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    store = storage.sweep("toy")
    with driving(storage, "toy"):
        follower = start_follower(storage.root, "toy", uri, store.log)
        try:
            status = wait_for_follower(store, follower)
            assert status is not None
            assert status.state == "shipping"
            assert os.getsid(follower.pid) == follower.pid != os.getsid(0)
            assert uri.encode() not in Path(f"/proc/{follower.pid}/cmdline").read_bytes()
            trained(storage.root, desired)
        finally:
            if follower.poll() is None and state(storage).state != "shipping":
                os.kill(follower.pid, signal.SIGKILL)
    ended = wait_for_end(store, follower)
    assert ended is not None
    assert ended.state == "done"
    assert follower.returncode == 0
    assert "shipped to sqlite" in store.log.read_text()
    assert_shows(uri, storage, desired)


def test_a_driver_does_not_wait_for_a_follower_that_cannot_begin(tmp_path: Path) -> None:
    storage = manifest(tmp_path / "results", sweep())
    ended = subprocess.Popen(["true"])
    assert wait_for_follower(storage.sweep("toy"), ended, 20) is None
    with pytest.raises(ValueError, match="no longer writes to"):
        start_follower(storage.root, "toy", "./mlruns", tmp_path / "log")
