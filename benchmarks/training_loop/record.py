"""Time of a record with every built-in quantity, by quantity, relative to lanczos and the exact trace alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from torch import Tensor

from benchmarks.curvature.snapshots import first
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import ratio
from benchmarks.harness.trials import paper_cnn, trial_config
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.quantities.catalogue import BUILT_IN, estimators_named
from orchestrator.study.record import Record
from orchestrator.training.environment import reproducible
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.trainer import train_epoch

BASE = ("lanczos", "exact_trace")
EVERYTHING = tuple(name for name in BUILT_IN if name != "sampled_trace")
"""All but the sampled trace, which excludes the exact one."""
GOAL = 3.0
"""Maximum time of all quantities, relative to lanczos and the exact trace."""
RARELY, SELDOM = 10, 100
"""`every` of a quantity that is measured rarely, and of one that alone takes longer than the goal."""
_BATCH, _LEARNING_RATE = 64, 0.05


@dataclass(frozen=True)
class RecordSizes:
    trained_on: int
    images: int
    """Number of images in the measurement."""
    epochs: int
    """Number of epochs; a record follows each."""


SIZES: dict[Scale, RecordSizes] = {
    "full": RecordSizes(45_000, 4500, 3),
    "quick": RecordSizes(4500, 450, 1),
    "tiny": RecordSizes(64, 8, 1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains for several epochs and measures both sets of quantities after each, in one process."""
    sizes = SIZES[settings.scale]
    data = first(resident_data(settings, sizes.trained_on), sizes.trained_on)
    subset = data.measurement_subset(sizes.images / len(data.train))
    config = trial_config(SgdConfig(name="sgd", lr=_LEARNING_RATE), _BATCH, sizes.epochs)
    model = paper_cnn(data)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    training = Training(config, optimizer, data)
    measurements = {"base": _measurement(BASE, *subset), "everything": _measurement(EVERYTHING, *subset)}
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in measurements}
    for epoch in range(1, sizes.epochs + 1):
        with reproducible(settings.threads):
            train_epoch(model, optimizer, data, config, epoch)
            for name, measurement in measurements.items():
                record = measurement.complete(Record(epoch, 0, loss_train=1.0), model, training)
                records[name].append({"total": record.time_measure_seconds, **record.time_per_quantity})
                say(f"  epoch {epoch}: {records[name][-1]}")
    yield {"images": sizes.images, "trained_on": sizes.trained_on, **records}


def _measurement(names: tuple[str, ...], inputs: Tensor, labels: Tensor) -> Measurement:
    return Measurement(MeasurementConfig(fraction=1.0, estimators=estimators_named(*names)), 0, inputs, labels)


def table(result: Result) -> str:
    """Seconds of each quantity and of a record, also relative to a record of lanczos and the exact trace."""
    measured = result.measured
    base = [record["total"] for record in measured["base"]]
    by_quantity = {name: [record[name] for record in measured["everything"]] for name in EVERYTHING}
    total = [record["total"] for record in measured["everything"]]
    rows = [[f"`{' + '.join(BASE)}` alone", spread(base), ""]]
    costliest = sorted(by_quantity, key=lambda name: -median(by_quantity[name]))
    rows += [[f"`{name}`", spread(by_quantity[name]), str(ratio(by_quantity[name], base))] for name in costliest]
    rows.append(["all", spread(total), str(ratio(total, base))])
    middle = {name: median(by_quantity[name]) for name in by_quantity}
    # In a record of everything, another quantity may already have paid for these.
    middle |= {name: median(record[name] for record in measured["base"]) for name in BASE}
    every = affordable(middle, median(base))
    mean = sum(taken / every.get(name, 1) for name, taken in middle.items()) / median(base)
    listed = ", ".join(f"`{name}` {count}" for name, count in every.items())
    advice = f" With `every` of {listed}, the mean record takes {number(mean)} times." if every else ""
    return (
        f"{markdown(['quantity', 's (range)', f'relative to {BASE[0]} + {BASE[1]} (95%)'], rows)}\n\n"
        f"{len(base)} records of the paper's CNN, trained on {measured['trained_on']:,} images in batches of {_BATCH}, "
        f"measured on {measured['images']:,}; every quantity with its defaults. Quantities share products and "
        f"kept graphs, whose cost counts for the first quantity that needs them.{advice}"
    )


def affordable(seconds: Mapping[str, float], base: float, goal: float = GOAL) -> dict[str, int]:
    """The fewest quantities to measure rarely for a mean record to take at most `goal` times `base`.

    Args:
        seconds: the time of each quantity.
        base: seconds of a record with lanczos and the exact trace only, which are measured at every record.
        goal: maximum ratio.

    Returns:
        `every` of the quantities measured rarely, costliest first. If the goal is out of reach, all but the base.
    """
    every: dict[str, int] = {}
    for name in sorted(set(seconds) - set(BASE), key=lambda each: -seconds[each]):
        if sum(taken / every.get(each, 1) for each, taken in seconds.items()) <= goal * base:
            break
        every[name] = RARELY if seconds[name] <= goal * base else SELDOM
    return every


BENCHMARK = Benchmark("record", measure, table)
