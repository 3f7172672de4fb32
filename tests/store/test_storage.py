"""The files of a storage and their paths."""

from pathlib import Path

import pytest

from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from tests.store.stored import PROVENANCE, SWEEP, config, files_in


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


def test_reading_creates_no_file(storage: Storage) -> None:
    sweep = storage.sweep("night")
    assert storage.sweeps() == []
    assert not sweep.stop_requested
    assert sweep.shipper_status() is None
    assert sweep.driver_lease.holder() is None
    assert storage.trial(config().trial_id).numbers() == []
    assert not storage.root.exists()


def test_a_storage_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers do not run in the working directory of the driver."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Storage("results").root == tmp_path.resolve() / "results"
    assert Storage("~/results").root == tmp_path.resolve() / "home/results"


def test_all_files_have_their_documented_paths(storage: Storage) -> None:
    sweep, trial = storage.sweep("night"), storage.trial(config().trial_id)
    sweep.write_manifest(SWEEP, PROVENANCE)
    sweep.request_stop()
    sweep.write_shipper_status(ShipperStatus("done", "", 0, 1))
    sweep.log.write_text("")
    with sweep.driver_lease, sweep.ship_lease:
        pass
    trial.write_config(config())
    assert files_in(storage.root) == [
        "sweeps/night/driver-lease/000001.json",
        "sweeps/night/manifest.json",
        "sweeps/night/ship-lease/000001.json",
        "sweeps/night/shipper.json",
        "sweeps/night/shipper.log",
        "sweeps/night/stop",
        f"trials/{config().trial_id}/trial.json",
    ]
