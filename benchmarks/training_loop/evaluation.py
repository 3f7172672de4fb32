"""Time of the parts of an epoch: training, evaluation of all splits, and curvature measurement."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings
from benchmarks.harness.tables import markdown, number, percent, spread
from benchmarks.harness.timing import interleaved, say_sample
from benchmarks.harness.trials import paper_cnn
from benchmarks.training_loop.training import EPOCH, our_loop
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import Record
from orchestrator.training.environment import reproducible
from orchestrator.training.evaluation import evaluate
from orchestrator.training.measurement.measurement import Measurement

BATCH = 64


@dataclass(frozen=True)
class EvaluationSizes:
    portion: int
    """Number of images trained on per round."""
    measured: int
    """Number of images in the timed measurement, which takes time in proportion."""
    rounds: int


SIZES: dict[Scale, EvaluationSizes] = {
    "full": EvaluationSizes(9600, 1500, 2),
    "quick": EvaluationSizes(640, 100, 1),
    "tiny": EvaluationSizes(64, 4, 1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Times part of an epoch of training, a full evaluation and a measurement on fewer images, interleaved."""
    sizes = SIZES[settings.scale]
    data = resident_data(settings, sizes.portion)
    config = MeasurementConfig()
    inputs, labels = data.measurement_subset(config.fraction)
    model = paper_cnn(data)
    train = our_loop(model, data, BATCH, sizes.portion, settings.threads)
    train(0)
    measurement = Measurement(config, 0, inputs[: sizes.measured], labels[: sizes.measured])

    def evaluated(epoch: int) -> Record:
        with reproducible(settings.threads):
            return evaluate(model, data, (inputs, labels), epoch)

    def measure(epoch: int) -> Record:
        with reproducible(settings.threads):
            return measurement.complete(Record(epoch, 0, loss_train=1.0), model)

    tasks = {"training": train, "evaluation": evaluated, "measurement": measure}
    evaluated(0)
    samples = interleaved(tasks, sizes.rounds, on_sample=say_sample)
    images = {"validation": len(data.validation), "test": len(data.test), "subset": len(labels)}
    yield {
        "samples": samples,
        "scale": {
            "training": EPOCH / sizes.portion,
            "evaluation": 1.0,
            "measurement": len(labels) / min(sizes.measured, len(labels)),
        },
        "evaluated_images": images["validation"] + 2 * images["test"] + images["subset"],
        "subset": len(labels),
        "batch_size": BATCH,
        "estimators": [each.name for each in config.estimators],
    }


def table(result: Result) -> str:
    """Seconds of each part of an epoch, and its share with and without the measurement."""
    measured = result.measured
    whole = {name: measured["scale"][name] * median(samples) for name, samples in measured["samples"].items()}
    unmeasured = whole["training"] + whole["evaluation"]
    rows = [
        [
            name,
            spread(samples, measured["scale"][name]),
            "" if name == "measurement" else percent(whole[name] / unmeasured),
            percent(whole[name] / sum(whole.values())),
        ]
        for name, samples in measured["samples"].items()
    ]
    shown = markdown(["part of an epoch", "s (range)", "share without measurement", "share with measurement"], rows)
    return (
        f"{shown}\n\nTraining on {EPOCH:,} images in batches of {measured['batch_size']}; evaluation of "
        f"{measured['evaluated_images']:,} images; measurement on {measured['subset']:,} images by "
        f"{' and '.join(measured['estimators'])}. {number(sum(whole.values()))} s in total."
    )


BENCHMARK = Benchmark("evaluation", measure, table)
