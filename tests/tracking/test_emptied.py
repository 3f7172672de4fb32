"""A tracker that loses what it had while a shipper follows, and shippers that meet."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.ownership.lease import Holder
from orchestrator.store.trial_status import State
from orchestrator.tracking import sync as mirror
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import Gate, Shipping, driving, free_port, release, start_server, stop_server, wait_until
from tests.tracking.stored import Shown, assert_shows, manifest, sweep, train, trained
from tests.tracking.test_faults import Follower, hurried  # noqa: F401 (a fixture)


def shown(uri: str, name: str = "toy") -> dict[str, Any]:
    try:
        return Shown(uri, name).trials  # type: ignore[return-value]
    except Exception:  # half made
        return {}


@pytest.mark.parametrize("how", ["deleted", "emptied", "replaced"])
def test_a_database_that_goes_while_a_follower_is_at_work_is_filled_again(
    how: str, tmp_path: Path, uri: str, blank_database: Path
) -> None:
    desired = sweep(epochs=5)
    storage = manifest(tmp_path / "results", desired)
    database = tmp_path / "mlflow.db"
    with driving(storage, "toy") as driver:
        for config in desired.trials:
            train(storage, config, 0, 3)
        follower = Shipping(storage, "toy", uri, follow=True)
        wait_until(lambda: len(shown(uri)) == 4 and _pending(storage) == 0)
        if how == "replaced":
            (tmp_path / "new.db").write_bytes(blank_database.read_bytes())
            (tmp_path / "new.db").replace(database)
        else:
            database.unlink()
        if how == "emptied":
            database.touch()
        wait_until(lambda: any("is back; 16 epochs shipped to it since" in line for line in follower.lines()))
        for config in desired.trials:
            train(storage, config, 4, 5, State.COMPLETED)
        release(driver)
        lines = follower.said()
    assert_shows(uri, storage, desired)
    assert lines[0].startswith(f"tracker {uri} has lost runs of sweep toy (the file of its database was deleted or rep")
    assert "they are made again; training goes on; 0 epochs wait" in lines[0]
    assert len(lines) == 4, lines


def test_a_new_server_with_nothing_in_it_is_filled_though_nothing_is_trained(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "CHECK_SECONDS", 0.5)
    desired, gate, port = sweep(name="moved"), Gate(server), free_port()
    (tmp_path / "other").mkdir()
    other = start_server(tmp_path / "other", port)
    try:
        storage = manifest(tmp_path / "results", desired)
        gate.open()
        with driving(storage, "moved") as driver:
            for config in desired.trials:
                train(storage, config, 0, 3, State.COMPLETED)
            follower = Follower(storage, "moved", gate.uri)
            follower.start()
            wait_until(lambda: _pending(storage, "moved") == 0)
            fresh = f"http://127.0.0.1:{port}"
            wait_until(lambda: not isinstance(_experiments(fresh), Exception))
            gate.close()
            gate._target = port
            gate.open()
            wait_until(lambda: len(shown(fresh, "moved")) == 4 and bool(follower.lines))
            wait_until(lambda: any(" is back; " in line for line in follower.lines))
            release(driver)
            assert follower.ended().complete
        assert_shows(fresh, storage, desired)
    finally:
        gate.close()
        stop_server(other)


def test_a_shipper_that_was_taken_for_dead_ends(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    with driving(storage, "toy") as driver:
        follower = Follower(storage, "toy", uri)
        follower.start()
        wait_until(lambda: len(shown(uri)) == 4)
        lease = storage.root / "sweeps/toy/ship-lease"
        (held,) = lease.iterdir()
        now = time.time()
        successor = Holder("elsewhere", 7, "0", "another", now, now)
        (lease / "000099.json").write_text(json.dumps({**successor.__dict__}))
        result = follower.ended()
        assert not result.complete
        assert follower.lines[-1].startswith("sweep toy is shipped by another now: process 7 on elsewhere, since ")
        assert follower.lines[-1].endswith("; this shipper ends")
        assert held.exists()
        release(driver)
    for file in (held, lease / "000099.json"):  # the successor has ended, and had removed the lease before its own
        file.unlink()
    trained(storage.root, desired)
    assert ship(storage, "toy", uri, False, lambda line: None).complete
    assert_shows(uri, storage, desired)


def test_two_shippers_at_once_make_one_run_a_trial(server: str, tmp_path: Path) -> None:
    desired = sweep(seeds=4, epochs=20, name="twice")
    storage = trained(tmp_path / "results", desired)
    both = [Shipping(storage, "twice", server), Shipping(storage, "twice", server)]
    lines = [each.said() for each in both]
    assert_shows(server, storage, desired)
    assert sorted("waiting for it to end" in said[0] for said in lines) == [False, True]


def _pending(storage: Any, name: str = "toy") -> int:
    status = storage.sweep(name).shipper_status()
    return status.pending_epochs if status and status.state == "shipping" else -1


def _experiments(uri: str) -> object:
    from mlflow import MlflowClient

    try:
        return MlflowClient(uri).search_experiments()
    except Exception as error:
        return error
