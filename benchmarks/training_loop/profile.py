"""Time of a record by part, with two trials at a time, compared with the arithmetic that the part performs."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.harness.barrier import Barrier
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.flops import flop_counter
from benchmarks.harness.machine import describe, with_best_rates
from benchmarks.harness.processes import environment
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import load_sweep
from orchestrator.training.allocator import WORKER_ENVIRONMENT
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data, source_digest
from orchestrator.training.environment import reproducible
from orchestrator.training.evaluation import evaluate
from orchestrator.training.loop import fitting_model
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.trainer import Trainer

TRIALS = 2
"""Number of trials at a time, with one thread each."""
RECORDS: dict[Scale, dict[str, int]] = {
    "full": {"quickstart": 10, "laptop": 4, "paper": 2},
    "quick": {"quickstart": 1},
    "tiny": {"quickstart": 1},
}
"""Number of records by sweep. The record of the untrained network is left out, because it validates the network."""
_PATIENCE_SECONDS = 900.0

Parts = dict[str, float]
"""Seconds or operations of one record, by part: training, evaluation, each quantity, other."""


@dataclass(frozen=True)
class ProfileCase:
    """A trial of a shipped sweep, as one of several that run at the same time."""

    sweep: str
    records: int
    seed: int
    settings: Settings
    folder: Path
    """Where the processes wait for one another."""

    @property
    def config(self) -> TrialConfig:
        """The sweep's first trial with the given images and seed, and with Algorithm 1 at every record."""
        content = load_sweep(self.sweep).trials[0].model_dump()
        content |= {"seed": self.seed, "epochs": self.records + 1}
        content["measurement"] |= {"algorithm1_every": 1}
        if content["data"]["name"] == "cifar10":
            images = {"name": "image_folder", "path": str(self.settings.data)}
            content["data"] = {**images, "train_subset": content["data"]["train_subset"]}
        return TrialConfig.model_validate(content)


class _Profiled:
    """A trial whose parts are timed, and whose operations are counted in a repetition of the same part."""

    def __init__(self, config: TrialConfig, data: DataSplits) -> None:
        self._config, self._data = config, data
        self._model = fitting_model(config, data)
        self._loss = build_loss(config.loss, data)
        optimizer = build_optimizer(config.optimizer, self._model.parameters())
        step = training_step(self._model, optimizer, data, config)
        self._trainer = Trainer(self._model, optimizer, data, config, step)
        self._training = Training(config, optimizer, data)
        self._subset = data.measurement_subset(config.measurement.fraction)
        self._clock: Callable[[], float] = time.perf_counter
        self._measurement = Measurement(
            config.measurement, config.seed, *self._subset, self._loss, clock=lambda: self._clock()
        )

    def train(self, record: int) -> Parts:
        """Trains until a record."""
        started = self._clock()
        self._trainer.train_until(self._config.cadence.step(record, self._trainer.steps_per_epoch))
        return {"training": self._clock() - started}

    def record(self, number: int) -> Parts:
        """Evaluates and measures at a record."""
        started = self._clock()
        record = evaluate(self._model, self._data, self._subset, number, self._loss)
        evaluated = self._clock()
        record = self._measurement.complete(record, self._model, self._training)
        quantities = record.time_per_quantity
        other = (record.time_measure_seconds or 0.0) - sum(quantities.values())
        return {"evaluation": evaluated - started, **quantities, "other": other}

    def counted(self, part: Callable[[int], Parts], number: int) -> Parts:
        """Counts the operations of a part at a record."""
        with flop_counter() as counter:
            self._clock = counter.get_total_flops
            try:
                return part(number)
            finally:
                self._clock = time.perf_counter


def profiled(case: ProfileCase) -> dict[str, Any]:
    """Returns seconds and operations of each record, and the rate of matrix products beside the other trials."""
    barrier = Barrier(case.folder, TRIALS, _PATIENCE_SECONDS)
    data = load_data(case.config.data, torch.device("cpu"))
    with reproducible(1):
        trial = _Profiled(case.config, data)
        trial.record(0)
        barrier.wait(f"{case.sweep}-{case.seed}", f"{case.sweep}-began")
        machine = describe(case.settings)
        timed, counted = [], []
        for record in range(1, case.records + 1):
            timed.append({**trial.train(record), **trial.record(record)})
            counted.append(trial.counted(trial.record, record))
        rate = with_best_rates(machine, case.settings).best_gflops
        barrier.wait(f"{case.sweep}-{case.seed}", f"{case.sweep}-ended")
        operations = trial.counted(trial.train, case.records + 1)
    return {"seconds": timed, "operations": [operations | each for each in counted], "gflops": rate}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Profiles one sweep after another. Without an image folder, only `quickstart`, which needs none."""
    settings = replace(settings, threads=1)
    cases = RECORDS[settings.scale] if settings.data else {"quickstart": RECORDS[settings.scale]["quickstart"]}
    processes = multiprocessing.get_context("spawn")
    for sweep, records in settings.chosen(cases).items():
        with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
            trials = [ProfileCase(sweep, records, seed, settings, Path(scratch)) for seed in range(TRIALS)]
            source_digest(trials[0].config.data, decode=True)
            with environment(WORKER_ENVIRONMENT), ProcessPoolExecutor(TRIALS, mp_context=processes) as pool:
                found = list(pool.map(profiled, trials))
        every = load_sweep(sweep).trials[0].measurement.algorithm1_every
        for trial in found:
            say(f"  {sweep}: {trial['seconds'][-1]}, {trial['gflops']:.0f} GFLOP/s")
        yield {sweep: {"algorithm1_every": every, "trials": found}}


@dataclass(frozen=True)
class _Part:
    """The mean of a part over the records of all trials."""

    name: str
    seconds: float
    limit: float
    """Seconds at the rate of matrix products."""
    share: float
    """The share of records with this part."""


def table(result: Result) -> str:
    """Seconds of each part, its arithmetic limit, and its share of a mean record."""
    rows = []
    for sweep, found in result.measured.items():
        parts = _parts(found)
        whole = sum(part.share * part.seconds for part in parts)
        limit = sum(part.share * part.limit for part in parts)
        rows += [_row(sweep, part, whole) for part in parts]
        rows.append([sweep, "**mean record**", number(whole), number(limit), number(whole / limit), percent(1.0)])
    header = ["sweep", "part", "s", "limit, s", "s / limit", "share of a mean record"]
    rates = ", ".join(f"{number(trial['gflops'])}" for found in result.measured.values() for trial in found["trials"])
    return (
        f"{markdown(header, rows, text=2)}\n\n{TRIALS} trials at a time, one thread each, with the first settings "
        "of the sweep. Means over the records of both trials. The limit is the number of operations that the part "
        f"performs, at the highest rate of matrix products of the trial beside the other: {rates} GFLOP/s."
    )


def _row(sweep: str, part: _Part, whole: float) -> list[str]:
    due = "" if part.share == 1 else f", at {part.share:.0%} of records"
    over = number(part.seconds / part.limit) if part.limit > 1e-3 * part.seconds else ""
    share = percent(part.share * part.seconds / whole)
    return [sweep, f"{part.name}{due}", number(part.seconds), number(part.limit), over, share]


def _parts(found: dict[str, Any]) -> list[_Part]:
    """The parts that take time, the longest in a mean record first."""
    trials = found["trials"]
    parts = []
    for name in trials[0]["seconds"][0]:
        seconds = mean(record[name] for trial in trials for record in trial["seconds"])
        limit = mean(record[name] / trial["gflops"] / 1e9 for trial in trials for record in trial["operations"])
        parts.append(_Part(name, seconds, limit, 1 / found["algorithm1_every"] if name == "algorithm1" else 1.0))
    return sorted(parts, key=lambda part: -part.share * part.seconds)


BENCHMARK = Benchmark("profile", measure, table, threads=1)
