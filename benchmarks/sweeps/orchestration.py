"""Overhead of a sweep: the fraction of its time outside the trials, with Ray and with local processes."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from benchmarks.sweeps.workplace import workplace
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.store.trial import TrialStore
from orchestrator.study.sweep import Resources


@dataclass(frozen=True)
class OrchestrationSizes:
    seeds: int
    """Number of seeds, each with two learning rates and two batch sizes, as in the quickstart."""
    epochs: int
    engines: tuple[str, ...] = ("ray", "local")
    rounds: int = 1
    fraction: float = 0.25
    """Fraction of the training images that is measured after every epoch, as in the quickstart."""
    idle_trials: int = 30
    """Number of empty trials that run through Ray Tune."""


SIZES: dict[Scale, OrchestrationSizes] = {
    "full": OrchestrationSizes(seeds=2, epochs=6, rounds=2),
    "quick": OrchestrationSizes(seeds=1, epochs=2, idle_trials=6),
    "tiny": OrchestrationSizes(seeds=1, epochs=1, engines=("local",), fraction=0.01, idle_trials=0),
}


@dataclass(frozen=True)
class TrialSpan:
    """Start and end of a trial in Unix seconds, and its seconds of training, evaluation and measurement."""

    started: float
    ended: float
    own: float


@dataclass(frozen=True)
class SlotTime:
    """The time of all slots in seconds: the wall time times their number. `total` is the sum of the other fields."""

    total: float
    start: float
    """Before the first trial of a slot: imports, the engine, the tracker's database, new processes."""
    own: float
    """Training, evaluation and measurement."""
    within: float
    """Inside trials, apart from `own`: reading the data, building the model, committing epochs and checkpoints."""
    between: float
    """Between the end of a trial and the start of the next one in its slot."""
    end: float
    """After the last trial of a slot: waiting for other slots, shipping, shutdown."""


def slot_time(spans: list[TrialSpan], began: float, finished: float, slots: int) -> SlotTime:
    """Breaks down the time of the slots. Assigns each trial to the slot that has been free longest.

    Raises:
        ValueError: there are fewer trials than slots.
    """
    if len(spans) < slots:
        raise ValueError(f"{len(spans)} trials cannot fill {slots} slots; run at least one per slot")
    ordered = sorted(spans, key=lambda span: span.started)
    first, later = ordered[:slots], ordered[slots:]
    ends = [span.ended for span in first]
    between = 0.0
    for span in later:
        free = min(range(slots), key=ends.__getitem__)
        between += span.started - ends[free]
        ends[free] = span.ended
    own = sum(span.own for span in spans)
    return SlotTime(
        total=slots * (finished - began),
        start=sum(span.started - began for span in first),
        own=own,
        within=sum(span.ended - span.started for span in spans) - own,
        between=between,
        end=sum(finished - end for end in ends),
    )


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Breaks down the time of a sweep of the digits with each engine. Then times empty trials in Ray Tune."""
    sizes = SIZES[settings.scale]
    slots = min(2, os.cpu_count() or 1)
    times: dict[str, list[dict[str, float]]] = {engine: [] for engine in sizes.engines}
    for at in range(sizes.rounds):
        for engine in sizes.engines:
            taken = _run_sweep(sizes, engine, slots)
            times[engine].append(asdict(taken))
            say(f"  round {at}: {engine} {taken.total / slots:.1f} s, trials {taken.own / taken.total:.0%} of it")
    yield {"trials": 4 * sizes.seeds, "epochs": sizes.epochs, "slots": slots, "slot_seconds": times}
    if sizes.idle_trials:
        yield {"idle_trials_began": idle_trials(sizes.idle_trials)}


def table(result: Result) -> str:
    """The breakdown of the time, by run."""
    measured = result.measured
    rows = [
        _row(engine, SlotTime(**values), measured["slots"], measured["trials"])
        for engine, times in measured["slot_seconds"].items()
        for values in times
    ]
    header = ["run", "total, s", "start", "within a trial", "between trials", "end"]
    header += ["trials", "training and measuring", "overhead"]
    text = (
        f"{measured['trials']} trials of {measured['epochs']} epochs on the digits, {measured['slots']} at a time, "
        "one thread each. Start and end are mean seconds per slot; the last three columns are shares of the total."
    )
    if began := measured.get("idle_trials_began"):
        text += (
            f" {len(began)} empty trials through Ray Tune: the first began after {number(began[0])} s. In the second "
            f"half, one began every {1000 * seconds_per_trial(began):.0f} ms."
        )
    return f"{markdown(header, rows)}\n\n{text}"


def _row(engine: str, taken: SlotTime, slots: int, trials: int) -> list[str]:
    of_trials = taken.own + taken.within
    return [
        f"`--engine {engine}`",
        number(taken.total / slots),
        number(taken.start / slots),
        number(taken.within / trials),
        number(taken.between / max(1, trials - slots)),
        number(taken.end / slots),
        percent(of_trials / taken.total),
        percent(taken.own / taken.total),
        percent(1 - of_trials / taken.total),
    ]


def seconds_per_trial(began: list[float]) -> float:
    """Mean interval between starts in the second half, when all processes run."""
    later = began[len(began) // 2 :]
    return (later[-1] - later[0]) / (len(later) - 1)


def _run_sweep(sizes: OrchestrationSizes, engine: str, slots: int) -> SlotTime:
    content = {
        "name": "orchestration",
        "description": "A shorter quickstart.",
        "trial": {
            "data": {"name": "digits"},
            "optimizer": {"name": "sgd", "lr": 0.05},
            "epochs": sizes.epochs,
            "measurement": {"fraction": sizes.fraction, "algorithm1_every": 5},
        },
        "grid": {"optimizer.lr": [0.05, 0.01], "batch_size": [32, 64], "seed": list(range(sizes.seeds))},
        "resources": {"cpu": 1},
    }
    with workplace(content) as place:
        began = time.time()
        command = place.call("run", "--engine", engine, "--max-concurrent", str(slots))
        finished = time.time()
        if command.code != 0:
            raise RuntimeError(f"the sweep failed with --engine {engine}:\n{command.output}")
        spans = [_span(place.storage.trial(trial_id)) for trial_id in place.sweep.by_id]
    return slot_time(spans, began, finished, slots)


def _span(trial: TrialStore) -> TrialSpan:
    records = list(trial.records())
    times = [
        taken or 0.0
        for record in records
        for taken in (record.time_train_seconds, record.time_evaluate_seconds, record.time_measure_seconds)
    ]
    (attempt,) = trial.attempts()
    return TrialSpan(attempt.started_ms / 1000, records[-1].timestamp_ms / 1000, sum(times))


@dataclass(frozen=True)
class IdleTrial(TrainingJob):
    """An empty trial, which only records its start."""

    def run(self, trial_id: str, node: str = "") -> None:
        """Writes the current time into the storage folder."""
        (Path(self.storage_root) / trial_id).write_text(repr(time.time()))


def idle_trials(count: int) -> list[float]:
    """Runs empty trials in a new Ray instance. Returns the seconds until each began, ascending."""
    names = [str(name) for name in range(count)]
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        started = time.time()
        RayEngine(Resources()).run(Attempts(IdleTrial(scratch, "idle"), names))
        return sorted(float(path.read_text()) - started for path in Path(scratch).iterdir())


BENCHMARK = Benchmark("orchestration", measure, table)
