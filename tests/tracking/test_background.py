"""A shipper process that works alongside a run."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.tracking import background, shipper
from orchestrator.tracking.background import (
    SHIP_VARIABLE,
    BackgroundShipper,
    ship_now,
    start_shipper,
    wait_for_first_status,
)
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import IMPATIENT, driving, forked_shipper, free_port
from tests.tracking.stored import assert_shows, manifest, measure, shipper_status, sweep, train, trained


def test_the_shipper_process_outlives_the_driver(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    store = storage.sweep("toy")
    with driving(storage, "toy"):
        follower = start_shipper(storage.root, "toy", uri, store.log)
        try:
            status = wait_for_first_status(store, follower)
            assert status is not None
            assert status.state == "shipping"
            assert os.getsid(follower.pid) == follower.pid != os.getsid(0)
            assert uri.encode() not in Path(f"/proc/{follower.pid}/cmdline").read_bytes()
            trained(storage.root, desired)
        finally:
            if follower.poll() is None and shipper_status(storage).state != "shipping":
                os.kill(follower.pid, signal.SIGKILL)
    follower.wait(60)
    assert shipper_status(storage).state == "done"
    assert follower.returncode == 0
    assert "shipped to sqlite" in store.log.read_text()
    assert_shows(uri, storage, desired)


def test_a_driver_does_not_wait_for_a_shipper_that_cannot_start(tmp_path: Path) -> None:
    storage = manifest(tmp_path / "results", sweep())
    ended = subprocess.Popen(["true"])
    assert wait_for_first_status(storage.sweep("toy"), ended, 20) is None
    with pytest.raises(ValueError, match="no longer writes to"):
        start_shipper(storage.root, "toy", "./mlruns", tmp_path / "log")


def test_the_shipper_process_stores_no_password(tmp_path: Path) -> None:
    storage = trained(tmp_path / "results", sweep())
    store = storage.sweep("toy")
    with driving(storage, "toy"):
        follower = start_shipper(storage.root, "toy", f"http://me:geheim@127.0.0.1:{free_port()}", store.log)
        try:
            status = wait_for_first_status(store, follower)
        finally:
            follower.kill()
    assert status is not None
    assert status.state == "unreachable"
    assert "cannot be reached" in store.log.read_text()
    stored = [path for path in storage.root.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert stored == []


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks the shipper process instead of starting one, which saves seconds."""
    monkeypatch.setattr(background, "start_shipper", forked_shipper)


def run_without_tracker(folder: Path) -> tuple[BackgroundShipper, str]:
    """Trains a trial while the shipper's tracker is unreachable. Returns the shipper and the tracker's URI."""
    desired, uri = sweep(), f"http://127.0.0.1:{free_port()}"
    storage = manifest(folder, desired)
    beside = BackgroundShipper(storage, "toy", uri)
    with driving(storage, "toy"):
        beside.start()
        assert beside.process
        try:
            beside.wait_until_ready()
            train(storage, desired.trials[0], 0, 3, State.COMPLETED)
            beside.wait_until_shipped()
        finally:
            beside.process.kill()
    return beside, uri


@pytest.mark.usefixtures("forked")
def test_an_unreachable_tracker_is_reported_with_the_command_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr(background, "INTERACTIVE_SECONDS", 0.1)
    beside, uri = run_without_tracker(tmp_path / "results")
    assert lines[0].startswith(f"tracker {uri} cannot be reached (")
    assert lines[0].endswith("; training starts, and records are shipped once the tracker is back")
    assert lines[1].endswith(f"to ship the rest: {ship_command(tmp_path / 'results', 'toy', uri)}")
    lines.clear()
    beside.wait_until_shipped()
    assert lines == [lines[0]]
    assert lines[0].startswith(f"tracker {uri} cannot be reached (")


@pytest.mark.usefixtures("forked")
def test_a_shipper_that_ends_with_the_run_is_reported_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setenv(SHIP_VARIABLE, "0.1")
    _, uri = run_without_tracker(tmp_path / "results")
    assert lines[1].startswith(f"tracker {uri} cannot be reached (")
    command = ship_command(tmp_path / "results", "toy", uri)
    assert lines[1].endswith(
        f"; shipping is not complete after the 0.1 s of {SHIP_VARIABLE}; to ship the rest: {command}"
    )


@pytest.mark.usefixtures("forked")
def test_the_environment_variable_sets_how_long_a_run_waits(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr(background, "INTERACTIVE_SECONDS", 0.0)
    monkeypatch.setenv(SHIP_VARIABLE, "60")
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    beside = BackgroundShipper(storage, "toy", uri)
    with driving(storage, "toy"):
        beside.start()
        beside.wait_until_ready()
        trained(storage.root, desired)
    beside.wait_until_shipped()
    assert lines[0].startswith("16 epochs shipped to sqlite:")
    assert_shows(uri, storage, desired)


@pytest.mark.parametrize("text", ["10m", "-1", "nan", "inf"])
def test_an_invalid_waiting_time_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHIP_VARIABLE, text)
    with pytest.raises(ValueError, match=f"{SHIP_VARIABLE}='{text}': expected a number of seconds, .*=600"):
        BackgroundShipper(manifest(tmp_path / "results", sweep()), "toy", "sqlite:///mlflow.db")


@pytest.mark.usefixtures("forked")
def test_a_killed_shipper_is_reported_with_the_command_that_ships_the_rest(
    tmp_path: Path, uri: str, lines: list[str]
) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    beside = BackgroundShipper(storage, "toy", uri)
    with driving(storage, "toy"):
        beside.start()
        assert beside.process
        beside.wait_until_ready()
        beside.process.kill()
        trained(storage.root, desired)
    beside.wait_until_shipped()
    command = ship_command(storage.root, "toy", uri)
    assert lines[0].startswith(f"the shipper ended early, see {storage.sweep('toy').log}; ")
    assert lines[0].endswith(f"to ship the rest: {command}")
    assert lines[1].startswith("curves: make ui, then http://127.0.0.1:5000/#/experiments/")


def test_shipping_afterwards_reports_what_is_left(
    tmp_path: Path, uri: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT", IMPATIENT)
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    measure(storage, desired.trials[0], 0, 3)
    away = f"http://127.0.0.1:{free_port()}"
    ship_now(storage, "toy", away)
    assert "16 records and 2 measurements from checkpoints wait" in lines[-2]
    assert lines[-1].startswith("16 epochs and 2 measurements from checkpoints of sweep toy not shipped: tracker ")
    assert lines[-1].endswith(
        f"once that is fixed: hessian-dynamics ship toy --storage {storage.root} --tracking-uri {away}"
    )
    ship_now(storage, "toy", uri)
    assert lines[-2] == f"2 measurements from checkpoints shipped to {uri}"
    assert lines[-1].startswith("curves: make ui, then http://127.0.0.1:5000/#/experiments/")


def test_without_mlflow_the_ship_command_is_reported(
    tmp_path: Path, uri: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    storage = trained(tmp_path / "results", sweep())
    ship_now(storage, "toy", uri)
    (line,) = lines
    assert "which is not installed; install it with: pip install 'hessian-dynamics[sweep]'" in line
    assert line.endswith(f"then: hessian-dynamics ship toy --storage {storage.root} --tracking-uri {uri}")
