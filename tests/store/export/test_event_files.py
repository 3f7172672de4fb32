"""Event files for TensorBoard, read back with the protocol buffers of tensorboardX."""

import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from orchestrator.store.export.event_files import write_event_files
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep
from tests.store import stored

Points = dict[tuple[str, int], tuple[float, float]]


def _read(folder: Path) -> Points:
    """The value and the time of every point, by key and step. Checks the checksums of the file."""
    (file,) = folder.iterdir()
    content, points = file.read_bytes(), {}
    while content:
        size, size_sum = struct.unpack("<QI", content[:12])
        data, (data_sum,) = content[12 : 12 + size], struct.unpack("<I", content[12 + size : 16 + size])
        assert size_sum == _masked(content[:8])
        assert data_sum == _masked(data)
        content = content[16 + size :]
        event = Event.FromString(data)
        for value in event.summary.value:
            assert (value.tag, event.step) not in points
            points[value.tag, event.step] = value.simple_value, event.wall_time
    return points


def _masked(data: bytes) -> int:
    checksum = crc32c(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _expected(records: list[tuple[int, str, Record]]) -> Points:
    return {
        (prefix + key, step): (float(np.float32(value)), record.timestamp_ms / 1000)
        for step, prefix, record in records
        for key, value in record.metrics().items()
    }


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "results")


def test_every_scalar_of_every_trial_is_written_at_its_step(storage: Storage, tmp_path: Path) -> None:
    sweep = Sweep("toy", "", tuple(stored.config(seed=seed, epochs=2) for seed in (0, 1, 2)), Resources())
    storage.sweep("toy").write_manifest(sweep, stored.PROVENANCE)
    first, diverged, _ = (storage.trial(trial_id) for trial_id in sweep.by_id)
    records = [replace(stored.record(epoch), scalars={"layers/0.weight/trace": 1 / 3 + epoch}) for epoch in range(4)]
    for record in records:
        first.commit(record, b"state", "data", "1000-abc")
    first.remeasurements.add("fraction-0.5", stored.remeasured(2))
    lost = stored.record(0, loss=math.inf)
    diverged.commit(lost, b"state", "data", "1000-abc")

    for _ in range(2):  # a second call replaces the files
        folders = write_event_files(storage, "toy", tmp_path / "events")
    assert [folder.name for folder in folders] == [f"seed={seed}_{list(sweep.by_id)[seed]}" for seed in (0, 1)]
    requested = [(record.number, "", record) for record in records[:3]]
    again = (2, "fraction-0.5/", first.remeasurements.read("fraction-0.5", 2).record)
    assert _read(folders[0]) == _expected([*requested, again])
    assert ("layers/0.weight/trace", 2) in _read(folders[0])
    assert _read(folders[1]) == _expected([(0, "", lost)])


def test_the_step_is_the_optimizer_step_if_records_are_in_steps(storage: Storage, tmp_path: Path) -> None:
    config = stored.config(epochs=None, steps=50, record_every="20 steps")
    storage.sweep("toy").write_manifest(Sweep("toy", "", (config,), Resources()), stored.PROVENANCE)
    records = [stored.record(number) for number in range(4)]
    for record in records:
        storage.trial(config.trial_id).commit(record, b"state", "data", "1000-abc")
    (folder,) = write_event_files(storage, "toy", tmp_path / "events")
    assert _read(folder) == _expected([(step, "", records[n]) for n, step in enumerate((0, 20, 40, 50))])
