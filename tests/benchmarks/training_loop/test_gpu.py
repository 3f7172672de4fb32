"""Benchmark of concurrent trials on one GPU."""

from pathlib import Path

import pytest

from benchmarks.harness.machine import Machine
from benchmarks.harness.results import Result
from benchmarks.training_loop import gpu

MACHINE = Machine("some", 16, 1, 128.0, "Linux", 0.1, {"512": 30_000.0}, gpu="NVIDIA Some 100 80GB")


def trial(epochs: int, seconds: float) -> dict[str, float]:
    times = {"time_train_seconds": 0.2, "time_evaluate_seconds": 0.01, "time_measure_seconds": 0.1}
    return {"began": 10.0, "ended": 10.0 + seconds, "epochs": epochs, "products": 7.5, "reserved_bytes": 2**30, **times}


def test_rates_of_concurrent_trials_add_up() -> None:
    measured = {
        "paper_epochs": 10_640,
        "1-plain": [trial(10, 10.0)],
        "2-captured-mps": [trial(20, 10.0), trial(21, 10.5)],
    }
    result = Result("gpu", "2026-11-24T10:00:00+00:00", None, "full", "random images", {}, MACHINE, measured)
    assert result.file_name == "gpu-nvidia-some-100-80gb.json"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in gpu.table(result).splitlines()[2:4]]
    assert rows[0][:6] == ["1", "no", "no", "3,600", "1.00", "2.96"]
    assert rows[1][:6] == ["2", "yes", "yes", "14,400", "4.00", "0.74"]


def test_mps_server_is_detected_by_its_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not gpu.served_by_mps()
    (tmp_path / "control").touch()
    assert gpu.served_by_mps()
