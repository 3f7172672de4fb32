"""Where an epoch's time goes: training, evaluation on everything, and the measurement of curvature."""

from dataclasses import dataclass
from statistics import median

from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent, spread
from benchmarks.harness.timing import interleaved
from benchmarks.training_loop.training import EPOCH, our_loop
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.model_config import CnnConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import evaluate
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.networks import build_model

NAME = "evaluation"
BATCH = 64


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    portion: int
    """Training images a round."""
    measured: int
    """Images of the measurement that is timed; its cost is proportional to them."""
    rounds: int


SIZES: dict[Scale, Sizes] = {"full": Sizes(9600, 1500, 2), "quick": Sizes(640, 100, 1), "tiny": Sizes(64, 4, 1)}


def run(settings: Settings) -> Result:
    """Times a portion of training, a whole evaluation and a measurement on fewer images, in turns."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    data = resident_data(settings, sizes.portion)
    config = MeasurementConfig()
    inputs, labels = data.measurement_subset(config.fraction)
    model = build_model(CnnConfig(name="cnn"), data.shape, len(data.classes), seed=0)
    train = our_loop(model, data, BATCH, sizes.portion, settings.threads)
    train(0)
    measurement = Measurement(config, 0, inputs[: sizes.measured], labels[: sizes.measured])

    def evaluated(epoch: int) -> EpochRecord:
        with reproducible(settings.threads):
            return evaluate(model, data, (inputs, labels), epoch)

    def measure(epoch: int) -> EpochRecord:
        with reproducible(settings.threads):
            return measurement.complete(EpochRecord(epoch, 0, loss_train=1.0), model)

    tasks = {"training": train, "evaluation": evaluated, "measurement": measure}
    evaluated(0)
    samples = interleaved(
        tasks, sizes.rounds, on_sample=lambda name, at, taken: say(f"  round {at}: {name} {taken:.1f} s")
    )
    images = {"validation": len(data.validation), "test": len(data.test), "subset": len(labels)}
    measured = {
        "samples": samples,
        "scale": {
            "training": EPOCH / sizes.portion,
            "evaluation": 1.0,
            "measurement": len(labels) / min(sizes.measured, len(labels)),
        },
        "evaluated_images": images["validation"] + 2 * images["test"] + images["subset"],
        "subset": len(labels),
        "batch_size": BATCH,
        "estimators": list(config.estimators),
    }
    return finish(NAME, settings, machine, measured)


def table(result: Result) -> str:
    """Seconds and shares of an epoch with and without the measurement."""
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
    shown = markdown(["part of an epoch", "s (range)", "share without measurement", "share with it"], rows)
    return (
        f"{shown}\n\nTraining on {EPOCH:,} images in batches of {measured['batch_size']}; evaluation of "
        f"{measured['evaluated_images']:,} images; measurement on {measured['subset']:,} images by "
        f"{' and '.join(measured['estimators'])}. {number(sum(whole.values()))} s in all."
    )
