"""How much of a sweep's time goes into anything but its trials: with Ray, and with plain processes."""

import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from benchmarks.sweeps.workplace import Workplace
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.store.trial import TrialStore
from orchestrator.study.sweep import Resources

NAME = "orchestration"


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    seeds: int
    """Four trials each: two learning rates, two batch sizes, as in the quickstart."""
    epochs: int
    engines: tuple[str, ...] = ("ray", "local")
    rounds: int = 1
    fraction: float = 0.25
    """Of the training images, measured after every epoch; the quickstart's."""
    idle_trials: int = 30
    """Trials of no work through Ray Tune; 0: none."""


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(seeds=2, epochs=6, rounds=2),
    "quick": Sizes(seeds=1, epochs=2, idle_trials=6),
    "tiny": Sizes(seeds=1, epochs=1, engines=("local",), fraction=0.01, idle_trials=0),
}


@dataclass(frozen=True)
class Span:
    """When a trial ran, in Unix seconds, and how long of that it trained, evaluated and measured by its own clock."""

    started: float
    ended: float
    own: float


@dataclass(frozen=True)
class Account:
    """Where the time of all slots went, in slot-seconds: `total` is wall time times slots, and the sum of the rest."""

    total: float
    start: float
    """Until the first trial of a slot begins: imports, the engine, the tracker's database, new processes."""
    own: float
    """Of the trials: training, evaluation, measurement."""
    within: float
    """Of the trials, beyond that: reading the data, building the model, committing epochs and checkpoints."""
    between: float
    """From the end of a trial to the beginning of the next in its slot."""
    end: float
    """After the last trial of a slot: waiting for the other slots' last, shipping, shutting down."""


def account(spans: list[Span], began: float, finished: float, slots: int) -> Account:
    """Where the slots' time went. A trial is put into the slot that has been free for longest.

    Raises:
        ValueError: where fewer trials ran than there are slots.
    """
    if len(spans) < slots:
        raise ValueError(f"{len(spans)} trials cannot fill {slots} slots; run at least one a slot")
    ordered = sorted(spans, key=lambda span: span.started)
    first, later = ordered[:slots], ordered[slots:]
    ends = [span.ended for span in first]
    between = 0.0
    for span in later:
        free = min(range(slots), key=ends.__getitem__)
        between += span.started - ends[free]
        ends[free] = span.ended
    own = sum(span.own for span in spans)
    return Account(
        total=slots * (finished - began),
        start=sum(span.started - began for span in first),
        own=own,
        within=sum(span.ended - span.started for span in spans) - own,
        between=between,
        end=sum(finished - end for end in ends),
    )


def run(settings: Settings) -> Result:
    """Runs a sweep of the digits with each engine, from nothing, and reads from the storage where its time went."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    slots = min(2, os.cpu_count() or 1)
    accounts: dict[str, list[dict[str, float]]] = {engine: [] for engine in sizes.engines}
    for at in range(sizes.rounds):
        for engine in sizes.engines:
            taken = _sweep(sizes, engine, slots)
            accounts[engine].append(asdict(taken))
            own = taken.own / taken.total
            say(f"  round {at}: {engine} {taken.total / slots:.1f} s, {own:.0%} of it the trials' own")
    measured: dict[str, Any] = {
        "trials": 4 * sizes.seeds,
        "epochs": sizes.epochs,
        "slots": slots,
        "slot_seconds": accounts,
    }
    if sizes.idle_trials:
        measured["idle_trials_began"] = idle_trials(sizes.idle_trials)
    return finish(NAME, settings, machine, measured)


def table(result: Result) -> str:
    """Wall time of the sweep by every engine, and what a start, a trial and an end cost."""
    measured = result.measured
    rows = [
        _row(engine, Account(**values), measured["slots"], measured["trials"])
        for engine, accounts in measured["slot_seconds"].items()
        for values in accounts
    ]
    times = ["s in all", "start", "within a trial", "between trials", "end"]
    text = (
        f"{measured['trials']} trials of {measured['epochs']} epochs on the digits, {measured['slots']} at a time, "
        "one thread each. Start, between and end are seconds of one slot."
    )
    if "idle_trials_began" in measured:
        text += f" {_floor(measured['idle_trials_began'])}"
    return f"{markdown(['run', *times, 'trials', 'of it their own', 'engine'], rows)}\n\n{text}"


def _row(engine: str, found: Account, slots: int, trials: int) -> list[str]:
    of_trials = found.own + found.within
    return [
        f"`--engine {engine}`",
        number(found.total / slots),
        number(found.start / slots),
        number(found.within / trials),
        number(found.between / max(1, trials - slots)),
        number(found.end / slots),
        percent(of_trials / found.total),
        percent(found.own / found.total),
        percent(1 - of_trials / found.total),
    ]


def _floor(began: list[float]) -> str:
    return (
        f"Of {len(began)} trials of no work through Ray Tune the first began after {number(began[0])} s, "
        f"and in the second half of them one more took {1000 * seconds_of_one_more(began):.0f} ms."
    )


def seconds_of_one_more(began: list[float]) -> float:
    """What a trial of no work costs once all processes are up: the mean distance in the second half."""
    later = began[len(began) // 2 :]
    return (later[-1] - later[0]) / (len(later) - 1)


def _sweep(sizes: Sizes, engine: str, slots: int) -> Account:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        place = Workplace(Path(scratch), _content(sizes))
        began = time.time()
        code, said = place.call("run", "--engine", engine, "--max-concurrent", str(slots))
        finished = time.time()
        if code != 0:
            raise RuntimeError(f"the sweep failed with --engine {engine}:\n{said}")
        spans = [_span(place.storage.trial(trial_id)) for trial_id in place.sweep.by_id]
    return account(spans, began, finished, slots)


def _content(sizes: Sizes) -> dict[str, Any]:
    return {
        "name": "orchestration",
        "description": "The quickstart, shorter.",
        "trial": {
            "data": {"name": "digits"},
            "optimizer": {"name": "sgd", "lr": 0.05},
            "epochs": sizes.epochs,
            "measurement": {"fraction": sizes.fraction, "algorithm1_every": 5},
        },
        "grid": {"optimizer.lr": [0.05, 0.01], "batch_size": [32, 64], "seed": list(range(sizes.seeds))},
        "resources": {"cpu": 1},
    }


def _span(trial: TrialStore) -> Span:
    records = list(trial.records())
    times = [
        taken or 0.0
        for record in records
        for taken in (record.time_train_seconds, record.time_evaluate_seconds, record.time_measure_seconds)
    ]
    (attempt,) = trial.attempts()
    return Span(attempt.started_ms / 1000, records[-1].timestamp_ms / 1000, sum(times))


@dataclass(frozen=True)
class Idle(TrainingJob):
    """A job that is none: notes when it was called."""

    def run(self, trial_id: str, node: str = "") -> None:
        """Leaves the time in the storage folder."""
        (Path(self.storage_root) / trial_id).write_text(repr(time.time()))


def idle_trials(count: int) -> list[float]:
    """Takes so many trials of no work through a Ray that is started for them: seconds until each began, in order."""
    names = [str(name) for name in range(count)]
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        started = time.time()
        RayEngine(Resources()).run(Attempts(Idle(scratch, "idle"), names))
        return sorted(float(path.read_text()) - started for path in Path(scratch).iterdir())
