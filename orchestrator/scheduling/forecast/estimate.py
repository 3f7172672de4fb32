"""Estimates the duration of a run from the probed time of each missing record and the order of the trials."""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.counted import counted
from orchestrator.scheduling.engines.local import trials_here
from orchestrator.scheduling.forecast.probe import ProbeResult, probe
from orchestrator.scheduling.forecast.time_spent import Spent
from orchestrator.scheduling.options import EngineName
from orchestrator.scheduling.placement import on_this_machine
from orchestrator.scheduling.plan import Plan
from orchestrator.training.user_code.own_code import own_names

if TYPE_CHECKING:
    from orchestrator.training.cost import RecordPart

Status = Callable[[str], AbstractContextManager[object]]
"""Shows a text while a block runs, as `rich.console.Console.status` does."""

ENGINE_SECONDS: dict[EngineName, float] = {"local": 10.0, "ray": 16.0}
"""Overhead: the time before the first trial process starts and after the last one ends, measured on two cores.

The local engine waits until the runs exist in the tracker. Ray 2.60 starts during that wait:
`import ray.tune` 1-2 s, `ray.init` 3-7 s, the first trial after 4-7 s, shutdown 2 s.
"""


@dataclass(frozen=True)
class Estimate:
    """The estimated duration of a run."""

    trials: dict[str, Spent]
    """Estimated time of the missing records, by trial id."""
    at_a_time: int
    start_seconds: float
    """Time to start a trial process. The processes of all slots start at the same time."""
    engine_seconds: float
    probe_seconds: float

    @property
    def spent(self) -> Spent:
        """The sum over all trials."""
        return sum(self.trials.values(), Spent())

    @property
    def seconds(self) -> float:
        """Total duration of the command."""
        work = makespan([trial.seconds for trial in self.trials.values()], self.at_a_time)
        return self.engine_seconds + self.start_seconds + work


def makespan(seconds: Iterable[float], slots: int) -> float:
    """Returns the time at which the last job ends. Jobs start in this order, each on the first free slot."""
    free = [0.0] * slots
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def missing_records(plan: Plan) -> dict[str, range]:
    """Returns the missing records of each incomplete trial. Record 0 is the untrained model."""
    statuses = ((trial_id, plan.statuses[trial_id]) for trial_id in plan.todo)
    return {trial_id: range(status.number + 1, status.records + 1) for trial_id, status in statuses}


def own_code(plan: Plan) -> list[str]:
    """Returns a line for each class or function of the user that a run or a probe will import."""
    names = Counter(name for trial_id in plan.todo for name in own_names(plan.trial(trial_id)))
    return [f"runs your code: {name} ({counted(count, 'trial')})" for name, count in names.items()]


def estimate(plan: Plan, engine: EngineName, max_concurrent: int | None, status: Status) -> Estimate:
    """Estimates the duration of a run on this machine with a probe of some seconds. A record must be missing.

    Raises:
        DataError: if the data of a trial is missing or damaged.
        NoRoomError: if this machine lacks the GPUs of a trial.
        ProbeError: if a trial could not be run.
    """
    began = time.monotonic()
    missing = missing_records(plan)
    with status("reading the data"):
        # These imports load torch, which takes seconds, so they are skipped if no record is missing.
        from orchestrator.training.cost import record_parts
        from orchestrator.training.data.stand_in import read_data

        read_data(plan.trial(trial_id).data for trial_id in missing)
    mixes = {trial_id: record_parts(plan.trial(trial_id), numbers) for trial_id, numbers in missing.items()}
    parts = _ordered(list(dict.fromkeys(part for mix in mixes.values() for part in mix)))
    resources = on_this_machine(plan.sweep.resources)
    at_a_time = min(trials_here(resources, max_concurrent), len(missing))
    with status(f"probing: timing {len(parts)} parts of records, {at_a_time} at a time"):
        probed = probe(parts, at_a_time, resources)
    return Estimate(
        trials={trial_id: _spent(mix, probed) for trial_id, mix in mixes.items()},
        at_a_time=at_a_time,
        start_seconds=probed.start_seconds,
        engine_seconds=ENGINE_SECONDS[engine],
        probe_seconds=time.monotonic() - began,
    )


def _ordered(parts: Sequence["RecordPart"]) -> list["RecordPart"]:
    """Groups parts by data set, because a process holds only one. In each group the slowest parts come first."""
    data = list(dict.fromkeys(part.config.data for part in parts))
    return sorted(parts, key=lambda part: (data.index(part.config.data), part.kind != "measuring", part.kind))


def _spent(mix: Counter["RecordPart"], probed: ProbeResult) -> Spent:
    def seconds(kind: str) -> float:
        return sum(count * probed.seconds[part] for part, count in mix.items() if part.kind == kind)

    quantities: dict[str, float] = {}
    for part, count in mix.items():
        for name, once in probed.quantities.get(part, {}).items():
            quantities[name] = quantities.get(name, 0.0) + count * once
    return Spent(seconds("training"), seconds("evaluating"), seconds("measuring"), quantities)
