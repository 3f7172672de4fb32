"""Many trials on one GPU: epochs an hour of 1 to 16 side by side, their steps captured as CUDA graphs and not.

The trials are processes of the local engine that share the GPU, each with a copy of the data on it; neither Ray nor
MLflow is needed. `python -m benchmarks gpu --only 4-captured 4-plain` runs two cases and leaves the stored ones as they
are; a case takes about a minute. Under an MPS server (`nvidia-cuda-mps-control -d`) cases end in `-mps`.
"""

import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.harness.images import on_device, resident_data
from benchmarks.harness.results import RESULTS, Result, begin, finish, stored_measurements, write
from benchmarks.harness.settings import Scale, Settings, SkippedError, say
from benchmarks.harness.tables import markdown, number
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure, failure_of
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.data_config import TorchvisionData
from orchestrator.study.optimizer_config import SgdConfig
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources, load_sweep
from orchestrator.training.cuda.captured_step import CAPTURE_VARIABLE
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train

NAME = "gpu"
CAPTURED, PLAIN, MPS = "captured", "plain", "mps"
BATCH = 64
WARM_UP = 3
"""Epochs before the clock starts: the untrained model, the epoch of the capture, one more."""
LEAST = 3
"""Epochs of a trial that are counted, at least."""
_TIMES = ("time_train_seconds", "time_evaluate_seconds", "time_measure_seconds")
_PATIENCE = 300.0
"""Seconds for all trials of a case to be ready."""


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    trials: tuple[int, ...]
    seconds: float
    """Of a case, about."""


SIZES: dict[Scale, Sizes] = {
    "full": Sizes((1, 2, 4, 8, 16), 12.0),
    "quick": Sizes((1, 4), 5.0),
    "tiny": Sizes((2,), 0.0),
}


@dataclass(frozen=True)
class Timed:
    """A trial as a job of the engine: trains until its time is over, and leaves what its epochs took in a folder."""

    folder: Path
    trials: int
    captured: bool
    seconds: float
    settings: Settings

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Warms up, waits for the others, then trains and measures epoch after epoch."""
        os.environ[CAPTURE_VARIABLE] = "1" if self.captured else "0"
        try:
            with reproducible(1):
                (self.folder / f"{trial_id}.json").write_text(json.dumps(self._timed(int(trial_id))))
        except Exception as error:
            traceback.print_exc()
            return failure_of(error)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Nothing is committed."""
        return TrialSnapshot()

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Nothing: it has no attempts to note it with."""

    def _timed(self, seed: int) -> dict[str, Any]:
        device = torch.device("cuda")
        epochs = _epochs(on_device(resident_data(self.settings, BATCH), device), device, seed)
        for _ in range(WARM_UP):
            next(epochs)
        self._wait_for_all(seed)
        began = time.time()
        records: list[EpochRecord] = []
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

    def _wait_for_all(self, seed: int) -> None:
        (self.folder / f"{seed}.ready").touch()
        deadline = time.time() + _PATIENCE
        while len(list(self.folder.glob("*.ready"))) < self.trials:
            if time.time() > deadline:
                raise RuntimeError(f"not all of {self.trials} trials were ready within {_PATIENCE:.0f} s")
            time.sleep(0.01)


def _epochs(data: ResidentData, device: torch.device, seed: int) -> Iterator[EpochRecord]:
    """Of a trial of the sweep `paper`, with lanczos and the trace after every epoch."""
    measurement = MeasurementConfig(
        fraction=0.1, estimators=("lanczos", "exact_trace"), lanczos_tolerance=1e-3, lanczos_coarse_fraction=0.1
    )
    config = TrialConfig(
        data=TorchvisionData(name="cifar10"),
        optimizer=SgdConfig(name="sgd", lr=0.05),
        batch_size=BATCH,
        epochs=10**6,
        seed=seed,
        measurement=measurement,
    )
    return (trained.record for trained in train(config, data, device))


def run(settings: Settings) -> Result:
    """Runs the cases that are asked for; what is stored of the others stays.

    Raises:
        SkippedError: where torch sees no GPU.
    """
    if not torch.cuda.is_available():
        raise SkippedError("torch sees no GPU here: there is nothing to share")
    settings = replace(settings, device=torch.device("cuda"))
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    shared = f"-{MPS}" if served_by_mps() else ""
    cases = {f"{trials}-{way}{shared}": (trials, way) for trials in sizes.trials for way in (CAPTURED, PLAIN)}
    measured: dict[str, Any] = {"paper_epochs": _paper_epochs()}
    for name, (trials, way) in settings.chosen(cases).items():
        measured[name] = _case(trials, way == CAPTURED, sizes.seconds, settings)
        say(f"  {name}: {number(_rate(measured[name]))} epochs an hour")
        measured = {**stored_measurements(NAME, settings, machine), **measured}
        if settings.scale == "full":  # at once: a machine with a GPU may be taken away
            write(finish(NAME, settings, machine, measured, ended=False), RESULTS)
    return finish(NAME, settings, machine, measured)


def served_by_mps() -> bool:
    """Whether processes of this machine share its GPU through NVIDIA's Multi-Process Service."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


def table(result: Result) -> str:
    """Epochs an hour of every case, beside a single plain trial, and what that makes of the sweep `paper`."""
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
    header = [
        "trials",
        "captured",
        "MPS",
        "epochs an hour",
        "times one plain",
        "`paper`, h",
        "training, ms",
        "evaluation, ms",
    ]
    header += ["measurement, ms", "products", "GiB in all"]
    return (
        f"{markdown(header, rows)}\n\nThe paper's CNN, SGD, batches of {BATCH}, 45,000 images; after every epoch an "
        f"evaluation, lambda_max and lambda_min to 0.1% and the exact trace on a tenth of the images. Without an MPS "
        f"server the processes' kernels take turns, with one they run side by side. `paper` has "
        f"{measured['paper_epochs']:,} epochs. Times are those of an epoch of one trial."
    )


def _rate(found: list[dict[str, Any]]) -> float:
    """Epochs an hour of trials side by side."""
    return float(3600 * sum(trial["epochs"] / (trial["ended"] - trial["began"]) for trial in found))


def _case(trials: int, captured: bool, seconds: float, settings: Settings) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = Timed(Path(scratch), trials, captured, seconds, settings)
        names = [str(seed) for seed in range(trials)]
        resources = Resources(cpu=1, gpu=torch.cuda.device_count() / trials)
        LocalEngine(resources).run(Attempts(job, names, gpu=True))
        return [json.loads((Path(scratch) / f"{name}.json").read_text()) for name in names]


def _paper_epochs() -> int:
    return sum(trial.epochs for trial in load_sweep("paper").trials)
