"""Epochs per hour of 1 to 16 concurrent trials on one GPU, with and without CUDA graphs.

The local engine runs each trial in a process with its own copy of the data on the GPU. `python -m benchmarks gpu --only
4-captured 4-plain` runs two cases, of about a minute each, and keeps the stored results of the others. If an MPS server
is running (`nvidia-cuda-mps-control -d`), the names of the cases end in `-mps`.
"""

import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.harness.barrier import Barrier
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number
from benchmarks.harness.trials import trial_config
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure, failure_of
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, load_sweep
from orchestrator.training.cuda.captured_step import CAPTURE_VARIABLE
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train

CAPTURED, PLAIN, MPS = "captured", "plain", "mps"
BATCH = 64
WARM_UP = 3
"""Number of epochs before timing starts: epoch 0, the epoch that captures the graph, and one more."""
LEAST = 3
"""Minimum number of timed epochs per trial."""
_TIMES = ("time_train_seconds", "time_evaluate_seconds", "time_measure_seconds")


@dataclass(frozen=True)
class GpuSizes:
    trials: tuple[int, ...]
    seconds: float
    """Minimum duration of a case after the warm-up."""


SIZES: dict[Scale, GpuSizes] = {
    "full": GpuSizes((1, 2, 4, 8, 16), 12.0),
    "quick": GpuSizes((1, 4), 5.0),
    "tiny": GpuSizes((2,), 0.0),
}


@dataclass(frozen=True)
class TimedTrial:
    """A job that runs epochs for a given time and writes their mean times into a folder."""

    folder: Path
    trials: int
    captured: bool
    seconds: float
    settings: Settings

    def with_resources(self, resources: Resources) -> "TimedTrial":
        """Returns the job itself, which always uses a GPU."""
        return self

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Warms up, waits for the other trials, then trains and measures."""
        os.environ[CAPTURE_VARIABLE] = "1" if self.captured else "0"
        try:
            with reproducible(1):
                (self.folder / f"{trial_id}.json").write_text(json.dumps(self._timed(int(trial_id))))
        except Exception as error:
            traceback.print_exc()
            return failure_of(error)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns an empty snapshot, as nothing is committed."""
        return TrialSnapshot()

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Does nothing: the trial stores no attempts."""

    def _timed(self, seed: int) -> dict[str, Any]:
        device = torch.device("cuda")
        epochs = _epochs(resident_data(self.settings, BATCH).to(device), device, seed)
        for _ in range(WARM_UP):
            next(epochs)
        Barrier(self.folder, self.trials).wait(str(seed))
        began = time.time()
        records: list[Record] = []
        while len(records) < LEAST or time.time() < began + self.seconds:
            records.append(next(epochs))
        return {
            "began": began,
            "ended": time.time(),
            "epochs": len(records),
            **{name: mean(getattr(record, name) for record in records) for name in _TIMES},
            "products": mean(record.hessian_products or 0.0 for record in records),
            "lambda_max": records[-1].hessian_lambda_max,
            "reserved_bytes": torch.cuda.max_memory_reserved(device),
        }


def _epochs(data: DataSplits, device: torch.device, seed: int) -> Iterator[Record]:
    """Yields the epochs of a trial of the sweep `paper`, but without Algorithm 1, which runs every ten epochs there."""
    measurement = MeasurementConfig(
        fraction=0.1,
        estimators=estimators_named("lanczos", "exact_trace"),
        lanczos_tolerance=1e-3,
        lanczos_coarse_fraction=0.1,
    )
    config = trial_config(SgdConfig(name="sgd", lr=0.05), BATCH, 10**6, seed, measurement)
    return (trained.record for trained in train(config, data, device))


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    sizes = SIZES[settings.scale]
    shared = f"-{MPS}" if served_by_mps() else ""
    cases = {f"{trials}-{way}{shared}": (trials, way) for trials in sizes.trials for way in (CAPTURED, PLAIN)}
    yield {"paper_epochs": sum(trial.epochs for trial in load_sweep("paper").trials)}
    for name, (trials, way) in settings.chosen(cases).items():
        found = _case(trials, way == CAPTURED, sizes.seconds, settings)
        say(f"  {name}: {number(_rate(found))} epochs per hour")
        yield {name: found}


def served_by_mps() -> bool:
    """Whether a server of NVIDIA's Multi-Process Service (MPS) runs on this machine."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


def table(result: Result) -> str:
    """Epochs per hour of every case, speedup over one plain trial, and extrapolated time of the sweep `paper`."""
    measured = result.measured
    cases = sorted((int(name.split("-")[0]), name) for name in measured if "-" in name)
    alone = measured.get(f"1-{PLAIN}")
    rows = []
    for trials, name in cases:
        found = measured[name]
        rate = _rate(found)
        parts = [1000 * mean(trial[part] for trial in found) for part in _TIMES]
        rows.append(
            [
                str(trials),
                "yes" if CAPTURED in name else "no",
                "yes" if MPS in name else "no",
                f"{rate:,.0f}",
                "" if alone is None else number(rate / _rate(alone)),
                number(measured["paper_epochs"] / rate),
                *(f"{part:,.0f}" for part in parts),
                number(mean(trial["products"] for trial in found)),
                f"{sum(trial['reserved_bytes'] for trial in found) / 2**30:.1f}",
            ]
        )
    header = ["trials", "captured", "MPS", "epochs per hour", "speedup over one plain", "`paper`, h"]
    header += ["training, ms", "evaluation, ms", "measurement, ms", "products", "total GiB"]
    return (
        f"{markdown(header, rows)}\n\nThe paper's CNN, SGD, batches of {BATCH}, 45,000 images. Every epoch ends with "
        "an evaluation and a measurement of lambda_max (to 0.1%), lambda_min and the exact trace on a tenth of the "
        f"images. Kernels of different processes run concurrently if an MPS server is running, otherwise time-sliced. "
        f"`paper` has {measured['paper_epochs']:,} epochs. Times are per epoch of one trial."
    )


def _rate(found: list[dict[str, Any]]) -> float:
    """Epochs per hour of all trials together."""
    return float(3600 * sum(trial["epochs"] / (trial["ended"] - trial["began"]) for trial in found))


def _case(trials: int, captured: bool, seconds: float, settings: Settings) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = TimedTrial(Path(scratch), trials, captured, seconds, settings)
        names = [str(seed) for seed in range(trials)]
        resources = Resources(cpu=1, gpu=torch.cuda.device_count() / trials)
        LocalEngine(resources).run(Attempts(job, names))
        return [json.loads((Path(scratch) / f"{name}.json").read_text()) for name in names]


BENCHMARK = Benchmark("gpu", measure, table, needs_gpu=True)
