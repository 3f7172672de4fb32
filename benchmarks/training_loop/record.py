"""Time of a record with every built-in quantity, by quantity, relative to lanczos and the exact trace alone."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

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
RECORDS = 101
"""Number of records of the trial whose mean record is computed."""
RARELY = 10
"""`algorithm1_every` of the alternative, as in the shipped sweeps."""
_BATCH, _LEARNING_RATE = 64, 0.05


@dataclass(frozen=True)
class RecordSizes:
    trained_on: int
    images: int
    """Number of images in the measurement."""
    epochs: int
    """Number of epochs; a record follows each."""


SIZES: dict[Scale, RecordSizes] = {
    "full": RecordSizes(45_000, 4500, 2),
    "quick": RecordSizes(4500, 450, 1),
    "tiny": RecordSizes(64, 8, 1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains for several epochs and measures every set of quantities that can be due after each, in one process.

    The records of the untrained network are left out. They validate the network.
    """
    sizes = SIZES[settings.scale]
    data = first(resident_data(settings, sizes.trained_on), sizes.trained_on)
    subset = data.measurement_subset(sizes.images / len(data.train))
    config = trial_config(SgdConfig(name="sgd", lr=_LEARNING_RATE), _BATCH, sizes.epochs)
    model = paper_cnn(data)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    training = Training(config, optimizer, data)
    base, everything = (
        Measurement(measurement(names), 0, *subset, clock=time.process_time) for names in (BASE, EVERYTHING)
    )
    kinds = {"base": (base, 0)} | {name: (everything, number) for name, number in KINDS.items()}
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for epoch in range(sizes.epochs + 1):
        with reproducible(settings.threads):
            if epoch:
                train_epoch(model, optimizer, data, config, epoch)
            for name, (quantities, record_number) in kinds.items():
                if not epoch and name == "complete":
                    continue
                record = quantities.complete(Record(record_number, 0, loss_train=1.0), model, training)
                found = {"total": record.time_measure_seconds, "products": record.hessian_products}
                found |= record.time_per_quantity
                say(f"  epoch {epoch}, {name}: {found}")
                if epoch:
                    records[name].append(found)
    yield {"images": sizes.images, "trained_on": sizes.trained_on, **records}


def measurement(names: tuple[str, ...]) -> MeasurementConfig:
    """Quantities with default settings."""
    return MeasurementConfig(fraction=1.0, estimators=estimators_named(*names))


KINDS = {"complete": 0, "usual": 3}
"""A record for each set of quantities that is due with default settings: all of them, and those of most records."""


def share_of_complete_records(records: int = RECORDS) -> float:
    """The share of a trial's records at which all quantities are due. At the others, those of `usual` are due.

    Raises:
        ValueError: if a record has yet another set of quantities.
    """
    quantities = measurement(EVERYTHING)
    due = {quantities.due(number): name for name, number in KINDS.items()}
    names = [due.get(quantities.due(number)) for number in range(records)]
    if None in names:
        raise ValueError(f"record {names.index(None)} has a set of quantities that is not measured: add it to KINDS")
    return names.count("complete") / records


def table(result: Result) -> str:
    """Seconds of each quantity and of a record, also relative to a record of lanczos and the exact trace."""
    measured = result.measured
    base = _column(measured["base"], "total")
    complete, usual = measured["complete"], measured["usual"]
    rows = [[f"`{' + '.join(BASE)}` alone", "every", spread(base), ""]]
    for name in sorted(EVERYTHING, key=lambda name: -median(_column(complete, name))):
        seconds = _column(complete, name)
        rows.append([f"`{name}`", "every" if name in usual[0] else "1-2-5", spread(seconds), str(ratio(seconds, base))])
    rows += [_row(label, seconds, base) for label, seconds in _records(complete, usual).items()]
    products = ", ".join(f"{number(median(_column(measured[kind], 'products')))} ({kind})" for kind in ("base", *KINDS))
    return (
        f"{markdown(['quantity', 'records', 's (range)', f'relative to {BASE[0]} + {BASE[1]} (95%)'], rows)}\n\n"
        f"{len(base)} records of the paper's CNN, trained on {measured['trained_on']:,} images in batches of {_BATCH}, "
        f"measured on {measured['images']:,}; every quantity with its defaults. CPU seconds of one thread. "
        "Quantities share products and "
        "kept graphs, whose cost counts for the first quantity that needs them. A mean record is the mean over a trial "
        f"of {RECORDS - 1} epochs; {share_of_complete_records():.0%} of its records are complete. "
        f"Hessian products: {products}."
    )


def _records(complete: list[dict[str, float]], usual: list[dict[str, float]]) -> dict[str, list[float]]:
    """Seconds of complete, usual and mean records, by label."""
    share, totals = share_of_complete_records(), (_column(complete, "total"), _column(usual, "total"))
    mean = [share * most + (1 - share) * less for most, less in zip(*totals, strict=True)]
    paper = [
        share * most + (1 - share) * less
        for most, less in zip(_column(complete, "algorithm1"), _column(usual, "algorithm1"), strict=True)
    ]
    rarely = [seconds - (1 - 1 / RARELY) * spared for seconds, spared in zip(mean, paper, strict=True)]
    without = [seconds - spared for seconds, spared in zip(mean, paper, strict=True)]
    return {
        "complete record": totals[0],
        "usual record": totals[1],
        "mean record": mean,
        f"mean record with `algorithm1_every: {RARELY}`": rarely,
        "mean record without `algorithm1`": without,
    }


def _row(label: str, seconds: list[float], base: list[float]) -> list[str]:
    return [f"**{label}**", "", spread(seconds), str(ratio(seconds, base))]


def _column(records: list[dict[str, float]], name: str) -> list[float]:
    return [record[name] for record in records]


BENCHMARK = Benchmark("record", measure, table, threads=1)
