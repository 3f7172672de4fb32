"""Time of a record for protecting the training from the user's own quantity, with and without the optimizer's state."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number
from benchmarks.harness.trials import paper_cnn, trial_config
from orchestrator.study.parts.optimizer_config import AdamConfig, SgdConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.protection import training_unchanged
from orchestrator.training.optimizers.build import build_optimizer

OPTIMIZERS: dict[str, SgdConfig | AdamConfig] = {
    "SGD": SgdConfig(name="sgd", lr=0.01),
    "Adam": AdamConfig(name="adam", lr=0.001),
}
FUNCTIONS: dict[str, Callable[[Training], object]] = {
    "does not use the optimizer": lambda training: training.config,
    "uses the optimizer": lambda training: training.optimizer,
}
_BATCH = 32


@dataclass(frozen=True)
class ProtectionSizes:
    records: int


SIZES: dict[Scale, ProtectionSizes] = {
    "full": ProtectionSizes(200),
    "quick": ProtectionSizes(20),
    "tiny": ProtectionSizes(2),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Times records one after the other, and records that each follow an optimizer step."""
    torch.set_num_threads(settings.threads)
    records, data = SIZES[settings.scale].records, resident_data(settings, _BATCH)
    cases = []
    for name in OPTIMIZERS:
        for function, use in FUNCTIONS.items():
            times = {way: _times(name, use, data, records, way == "step") for way in ("record", "step")}
            cases.append({"optimizer": name, "function": function, **times})
            say(f"  {name}, {function}: " + ", ".join(f"{way} {_milliseconds(times[way])}" for way in times))
    yield {"cases": cases}


def _times(
    optimizer: str, use: Callable[[Training], object], data: DataSplits, records: int, steps: bool
) -> list[float]:
    """Seconds of each record, after one that allocates the memory of the copies."""
    model = paper_cnn(data)
    config = trial_config(OPTIMIZERS[optimizer], _BATCH, 1)
    training = Training(config, build_optimizer(config.optimizer, model.parameters()), data)
    inputs, labels = batch(data, _BATCH)
    times = []
    for record in range(records + 1):
        if steps or record == 0:
            training.optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            training.optimizer.step()
        started = time.perf_counter()
        with training_unchanged(model, training):
            use(training)
        times.append(time.perf_counter() - started)
    return times[1:]


def table(result: Result) -> str:
    """Milliseconds of a record by optimizer and function."""
    rows = [
        [case["optimizer"], case["function"], _milliseconds(case["record"]), _milliseconds(case["step"])]
        for case in result.measured["cases"]
    ]
    count = len(result.measured["cases"][0]["record"])
    header = ["optimizer", "a function that", "ms after a record", "ms after an optimizer step"]
    return f"{markdown(header, rows)}\n\nMinimum and median of {count} records, one thread, 994,154 parameters."


def _milliseconds(times: list[float]) -> str:
    return f"{number(1e3 * min(times))}, {number(1e3 * median(times))}"


BENCHMARK = Benchmark("own_quantity", measure, table, threads=1)
