"""The written tables of a sweep, read back."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.store.export.tables import write_tables
from orchestrator.store.frames import Frames, read_frames
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.store import stored


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    """One trial with vectors, one that diverged."""
    sweep = Sweep("toy", "", (stored.config(seed=0, epochs=2), stored.config(seed=1, epochs=2)), Resources())
    storage = Storage(tmp_path / "results")
    storage.sweep("toy").write_manifest(sweep, stored.PROVENANCE)
    whole, diverged = (storage.trial(trial_id) for trial_id in sweep.by_id)
    for epoch in range(3):
        named = {"layers/trace": {"0, weight": 1 / 3, '"1"': float(epoch)}}
        record = replace(stored.record(epoch), lanczos_history=(1.0, 2.0 + epoch, 0.1), raw=named)
        whole.commit(record, b"state", "data", "1000-abc")
    diverged.commit(stored.record(0, loss=math.inf), b"state", "data", "1000-abc")
    return read_frames(storage, "toy")


def test_parquet_contains_the_tables(frames: Frames, tmp_path: Path) -> None:
    files = write_tables(frames, tmp_path / "export")
    assert [file.name for file in files] == ["epochs.parquet", "trials.parquet", "samples.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(files[0]), frames.epochs)
    pd.testing.assert_frame_equal(pd.read_parquet(files[1]), frames.trials)
    assert [list(row) for row in pd.read_parquet(files[2]).lanczos_history] == [[1, 2 + n, 0.1] for n in range(3)]


def test_csv_contains_the_same_numbers_bit_for_bit(frames: Frames, tmp_path: Path) -> None:
    files = write_tables(frames, tmp_path / "export", "csv")
    assert [file.name for file in files] == ["epochs.csv", "trials.csv", "samples.csv"]
    epochs, trials, samples = (pd.read_csv(file, float_precision="round_trip") for file in files)
    pd.testing.assert_frame_equal(epochs, frames.epochs, check_dtype=False, check_exact=True)
    assert math.isinf(epochs.loss_train.iloc[-1])
    numbers = frames.trials.select_dtypes("number").dropna(axis="columns")
    pd.testing.assert_frame_equal(trials[numbers.columns], numbers, check_dtype=False, check_exact=True)
    assert trials.label.tolist() == frames.trials.label.tolist()
    vectors = [column for column in frames.samples if column not in ("trial_id", "epoch")]
    assert {"lanczos_history", "layers_trace", "layers_trace_names"} <= set(vectors)
    for column in vectors:
        ours = [None if isinstance(each, float) else json.loads(each) for each in samples[column]]
        assert ours == [None if each is None else list(each) for each in frames.samples[column]]


def test_tables_without_rows_are_written(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    sweep = Sweep("toy", "", (stored.config(),), Resources())
    storage.sweep("toy").write_manifest(sweep, stored.PROVENANCE)
    frames = read_frames(storage, "toy")
    for kind in ("parquet", "csv"):
        assert all(file.exists() for file in write_tables(frames, tmp_path / "export", kind))
