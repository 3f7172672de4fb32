"""The files of one sweep."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.sweep import Resources, Sweep
from tests.store.stored import PROVENANCE, SWEEP


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


def test_a_manifest_is_read_as_written(storage: Storage) -> None:
    storage.sweep("night").write_manifest(SWEEP, PROVENANCE)
    sweep, provenance = storage.sweep("night").read_manifest()
    assert sweep == SWEEP
    assert list(sweep.by_id) == list(SWEEP.by_id)
    assert provenance == PROVENANCE


def test_a_manifest_keeps_an_unresolved_share_of_a_gpu(storage: Storage) -> None:
    sweep = replace(SWEEP, resources=Resources(gpu="auto"))
    storage.sweep("night").write_manifest(sweep, PROVENANCE)
    assert storage.sweep("night").read_manifest()[0] == sweep


def test_a_manifest_keeps_expectations_and_early_ones_have_none(storage: Storage) -> None:
    lines = ({"at_most": "2 / optimizer.lr", "where": {"seed": [0, 1]}}, {"value": 1, "within": "10%", "over": "peak"})
    expect = tuple(Expectation.model_validate({"quantity": "loss/train", **line}) for line in lines)
    sweep = replace(SWEEP, expect=expect)
    storage.sweep("night").write_manifest(sweep, PROVENANCE)
    assert storage.sweep("night").read_manifest()[0] == sweep
    path = storage.root / "sweeps" / "night" / "manifest.json"
    content = json.loads(path.read_text())
    del content["expect"]
    path.write_text(json.dumps(content))
    assert storage.sweep("night").read_manifest()[0] == SWEEP


def test_a_manifest_without_keep_checkpoints_keeps_the_last(storage: Storage) -> None:
    storage.sweep("night").write_manifest(SWEEP, PROVENANCE)
    path = storage.root / "sweeps" / "night" / "manifest.json"
    content = json.loads(path.read_text())
    assert content.pop("keep_checkpoints") == "every 5"
    path.write_text(json.dumps(content))
    sweep, _ = storage.sweep("night").read_manifest()
    assert sweep == replace(SWEEP, keep_checkpoints="last")
    assert not any(sweep.keeps(epoch) for epoch in range(20))


def test_manifest_replaces_the_previous_manifest(storage: Storage) -> None:
    smaller = Sweep("night", "", SWEEP.trials[:1], Resources())
    for sweep in (SWEEP, smaller):
        storage.sweep("night").write_manifest(sweep, PROVENANCE)
    assert storage.sweep("night").read_manifest()[0] == smaller


def test_an_unknown_sweep_lists_the_known_ones(storage: Storage) -> None:
    with pytest.raises(StorageError) as caught:
        storage.sweep("nigth").read_manifest()
    assert str(caught.value) == f"storage {str(storage.root)!r} has no sweep 'nigth'; it has: none"
    for name in ("night", "day"):
        storage.sweep(name).write_manifest(SWEEP, PROVENANCE)
    storage.sweep("never_run").request_stop()
    with pytest.raises(StorageError) as caught:
        storage.sweep("never_run").read_manifest()
    assert str(caught.value) == f"storage {str(storage.root)!r} has no sweep 'never_run'; it has: day, night"
    assert storage.sweeps() == ["day", "night"]


def test_a_stop_is_requested_and_cleared(storage: Storage) -> None:
    sweep = storage.sweep("night")
    sweep.clear_stop()
    for _ in range(2):
        sweep.request_stop()
        assert storage.sweep("night").stop_requested
    assert not storage.sweep("day").stop_requested
    sweep.clear_stop()
    assert not storage.sweep("night").stop_requested


def test_failures_of_remeasuring_are_stored_and_cleared(storage: Storage) -> None:
    sweep = storage.sweep("night")
    sweep.clear_failures()
    assert sweep.failures() == {}
    sweep.note_failure("b", "DataError: gelöscht")
    sweep.note_failure("a", "first")
    sweep.note_failure("a", "second")
    assert storage.sweep("night").failures() == {"a": "second", "b": "DataError: gelöscht"}
    assert storage.sweep("day").failures() == {}
    sweep.clear_failures()
    assert sweep.failures() == {}


def test_the_shipper_status_is_read_as_written(storage: Storage) -> None:
    for status in (ShipperStatus("unreachable", "refused - später", 7, 123), ShipperStatus("done", "", 0, 123)):
        storage.sweep("night").write_shipper_status(status)
        assert storage.sweep("night").shipper_status() == status
    content = json.loads((storage.root / "sweeps" / "night" / "shipper.json").read_text())
    assert list(content) == ["state", "message", "pending_epochs", "pid"], "the keys of earlier versions"


def test_driver_and_shipper_do_not_exclude_each_other(storage: Storage) -> None:
    sweep = storage.sweep("night")
    with sweep.driver_lease, sweep.ship_lease:
        assert sweep.driver_lease.holder() is not None
        assert sweep.ship_lease.holder() is not None
    assert sweep.driver_lease.holder() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"name": "night"}', b"\xff"])
def test_a_damaged_manifest_is_reported_with_its_repair(storage: Storage, content: bytes) -> None:
    sweep = storage.sweep("night")
    sweep.write_manifest(SWEEP, PROVENANCE)
    path = storage.root / "sweeps" / "night" / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        sweep.read_manifest()
    assert str(caught.value) == (
        f"{path}, of sweep 'night', is damaged: expected a JSON object with trials, resources and "
        "provenance; run the sweep's file again: hessian-dynamics run writes the manifest anew and recomputes no "
        "stored record"
    )
    assert storage.sweeps() == ["night"]
    sweep.write_manifest(SWEEP, PROVENANCE)
    assert sweep.read_manifest()[0] == SWEEP


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"noise": 3}', b"\xff"])
def test_a_damaged_gallery_or_shipper_status_is_ignored(storage: Storage, content: bytes) -> None:
    for name in ("gallery.json", "shipper.json"):
        storage.files.write(f"sweeps/night/{name}", content)
    assert storage.sweep("night").gallery() is None
    assert storage.sweep("night").shipper_status() is None


def test_publishing_on_a_disk_copies_nothing(storage: Storage) -> None:
    sweep = storage.sweep("night")
    (sweep.folder / "report").mkdir(parents=True)
    (sweep.folder / "report" / "report.html").write_text("page")
    assert sweep.publish(sweep.folder / "report") == str(sweep.folder / "report")
