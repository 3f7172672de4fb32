"""The time that a run will take: the probed time of each missing epoch, scheduled as the run will do it."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.scheduling.engines.local import trials_at_a_time
from orchestrator.scheduling.options import EngineName
from orchestrator.scheduling.plan import Plan
from orchestrator.scheduling.probe import probe
from orchestrator.scheduling.time_spent import Spent

if TYPE_CHECKING:
    from orchestrator.training.cost import EpochPart

Status = Callable[[str], AbstractContextManager[object]]
"""Shows a text while a block runs, as `rich.console.Console.status` does."""

ENGINE_SECONDS: dict[EngineName, float] = {"local": 10.0, "ray": 16.0}
"""From the command to the first process of a trial, and from the last one to the end; measured on two cores.

The local engine waits for the tracker, in which the runs are created first. Ray 2.60 starts meanwhile:
`import ray.tune` 1-2 s, `ray.init` 3-7 s, the first trial after 4-7 s, shutdown 2 s.
"""


@dataclass(frozen=True)
class Estimate:
    """The time that a run will take."""

    trials: dict[str, Spent]
    """The missing epochs of each trial."""
    at_a_time: int
    start_seconds: float
    """Start of a process, once for each slot."""
    engine_seconds: float
    probe_seconds: float

    @property
    def spent(self) -> Spent:
        """The sum over all trials."""
        return sum(self.trials.values(), Spent())

    @property
    def seconds(self) -> float:
        """From the command to its end."""
        work = makespan([trial.seconds for trial in self.trials.values()], self.at_a_time)
        return self.engine_seconds + self.start_seconds + work


def makespan(seconds: Iterable[float], slots: int) -> float:
    """The end of the last of some jobs that start in this order, each on the slot that is free first."""
    free = [0.0] * slots
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def missing_epochs(plan: Plan) -> dict[str, range]:
    """The epochs to compute of each trial that misses some. Epoch 0 is the untrained model."""
    statuses = ((trial_id, plan.statuses[trial_id]) for trial_id in plan.todo)
    return {trial_id: range(status.epoch + 1, status.epochs + 1) for trial_id, status in statuses}


def own_code(plan: Plan) -> list[str]:
    """A line for each network of the user's that a run, and a probe, will import."""
    names = Counter(plan.trial(trial_id).model.name for trial_id in plan.todo)
    counted = {name: f"{count} trial{'s' if count > 1 else ''}" for name, count in names.items() if ":" in name}
    return [f"runs code of yours: {name} ({trials})" for name, trials in counted.items()]


def estimate(plan: Plan, engine: EngineName, max_concurrent: int | None, status: Status) -> Estimate:
    """The time of a run on this machine, from a probe of some seconds. Something must be missing.

    Raises:
        DataError: if the data of a trial is missing or damaged.
        ProbeError: if a trial could not be run.
    """
    began = time.monotonic()
    missing = missing_epochs(plan)
    with status("reading the data"):
        # These import torch, which takes seconds: only if there is something to compute.
        from orchestrator.training.cost import epoch_parts
        from orchestrator.training.data.stand_in import read_data

        read_data(plan.trial(trial_id).data for trial_id in missing)
    mixes = {trial_id: epoch_parts(plan.trial(trial_id), epochs) for trial_id, epochs in missing.items()}
    parts = _ordered(list(dict.fromkeys(part for mix in mixes.values() for part in mix)))
    resources = plan.sweep.resources
    at_a_time = min(trials_at_a_time(resources, max_concurrent), len(missing))
    with status(f"probing: {len(parts)} things to time, {at_a_time} at a time"):
        probed = probe(parts, at_a_time, resources)
    return Estimate(
        trials={trial_id: _spent(mix, probed.seconds) for trial_id, mix in mixes.items()},
        at_a_time=at_a_time,
        start_seconds=probed.start_seconds,
        engine_seconds=ENGINE_SECONDS[engine],
        probe_seconds=time.monotonic() - began,
    )


def _ordered(parts: Sequence["EpochPart"]) -> list["EpochPart"]:
    """By data set, since a process holds one; then the long ones, measuring, before the short ones."""
    data = list(dict.fromkeys(part.config.data for part in parts))
    return sorted(parts, key=lambda part: (data.index(part.config.data), part.kind != "measuring", part.kind))


def _spent(mix: Counter["EpochPart"], seconds: dict["EpochPart", float]) -> Spent:
    def of(kind: str) -> float:
        return sum(count * seconds[part] for part, count in mix.items() if part.kind == kind)

    return Spent(of("training"), of("evaluating"), of("measuring"))
