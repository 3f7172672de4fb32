"""Time of a measurement (lambda_max, lambda_min and the trace) relative to the epoch of training before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import ratio, seconds
from benchmarks.harness.trials import paper_cnn, trial_config
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.record import Record
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.environment import reproducible
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.trainer import train_epoch

BATCH = 32
LEARNING_RATE = 0.05
TOLERANCE = 1e-3
COARSE = 0.1
WAYS = {
    "lambda_max and the exact trace": ("lanczos", "exact_trace"),
    "lambda_max and the sampled trace": ("lanczos", "sampled_trace"),
}


@dataclass(frozen=True)
class MeasurementSizes:
    images: int
    """Number of images in the measurement."""
    epochs: int


SIZES: dict[Scale, MeasurementSizes] = {
    "full": MeasurementSizes(5000, 5),
    "quick": MeasurementSizes(500, 1),
    "tiny": MeasurementSizes(12, 1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains for several epochs and runs both measurements after each, in one process."""
    sizes = SIZES[settings.scale]
    data = resident_data(settings, sizes.images).to(settings.device)
    inputs, labels = data.measurement_subset(sizes.images / len(data.train))
    model = paper_cnn(data).to(settings.device)
    config = trial_config(SgdConfig(name="sgd", lr=LEARNING_RATE), BATCH, sizes.epochs)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    step = training_step(model, optimizer, data, config)
    measurements = {
        way: Measurement(
            MeasurementConfig(
                fraction=1.0,
                estimators=estimators_named(*estimators),
                lanczos_tolerance=TOLERANCE,
                lanczos_coarse_fraction=COARSE,
            ),
            0,
            inputs,
            labels,
        )
        for way, estimators in WAYS.items()
    }
    samples: dict[str, list[float]] = {"training": [], **{way: [] for way in WAYS}}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for epoch in range(1, sizes.epochs + 1):
        with reproducible(settings.threads):
            samples["training"].append(seconds(lambda at=epoch: train_epoch(model, optimizer, data, config, at, step)))  # type: ignore[misc]
            for way, measurement in measurements.items():
                record = measurement.complete(Record(epoch, 0, loss_train=1.0), model)
                samples[way].append(record.time_measure_seconds or 0.0)
                found[way].append({**record.metrics(), "history": record.lanczos_history})
        say(f"  epoch {epoch}: " + ", ".join(f"{name} {taken[-1]:.1f} s" for name, taken in samples.items()))
    yield {"images": sizes.images, "trained_on": len(data.train), "samples": samples, "found": found}


def table(result: Result) -> str:
    """Times of an epoch of training and of the measurements after it, with their products and residuals."""
    measured = result.measured
    training = measured["samples"]["training"]
    rows = [["an epoch of training", spread(training), "", "", ""]]
    for way in WAYS:
        samples, found = measured["samples"][way], measured["found"][way]
        products = [record["hessian/products"] for record in found]
        errors = [record["hessian/lambda_max_residual"] / abs(record["hessian/lambda_max"]) for record in found]
        rows.append(
            [way, spread(samples), str(ratio(samples, training)), spread(products), number(100 * median(errors))]
        )
    header = ["", "s (range)", "epochs of training (95%)", "products (range)", "residual, % of lambda_max"]
    return (
        f"{markdown(header, rows)}\n\n{len(training)} epochs of {measured['trained_on']:,} images in batches of "
        f"{BATCH}, SGD with lr {LEARNING_RATE}; measured on {measured['images']:,} images; Lanczos to a tolerance of "
        f"{TOLERANCE:.1%}, with a coarse start on chunks of at most {COARSE:.0%} of these images."
    )


BENCHMARK = Benchmark("measurement", measure, table)
