"""Times parts of records in as many processes as the run will use.

Concurrent trials share memory bandwidth and cache, so a part timed alone would appear too fast.
"""

import itertools
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.scheduling.engines.local import choose_gpu, die_with_parent
from orchestrator.study.sweep import Resources

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from orchestrator.training.cost import RecordPart

LEAST_SECONDS = 4.0
"""Parts are timed repeatedly for at least this long, since one sample on a busy machine is unreliable."""


class ProbeError(RuntimeError):
    """A part could not be timed. A trial would fail for the same reason, which the message states."""


@dataclass(frozen=True)
class ProbeResult:
    """The times measured by a probe."""

    seconds: dict["RecordPart", float]
    """Time of each part of a record."""
    start_seconds: float
    """Time from the start of a process until it has read its data."""
    quantities: Mapping["RecordPart", Mapping[str, float]] = field(default_factory=dict)
    """Time of each quantity in the parts that measure."""


@dataclass(frozen=True)
class _Timing:
    ready: float
    """Unix time at which the data was read."""
    seconds: float
    quantities: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


def probe(parts: Sequence["RecordPart"], processes: int, resources: Resources) -> ProbeResult:
    """Times parts under the load of a run.

    Args:
        parts: the parts to time. Parts with the same data should be adjacent, since a process holds one data set.
        processes: how many trials will run at a time.
        resources: CPUs and GPUs of each trial.

    Raises:
        ProbeError: if a process died or a part raised.
    """
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    started = time.time()
    gpu = resources.gpu_share > 0
    pool = ProcessPoolExecutor(processes, context, _start, (context.Value("i", 0), gpu, str(Path.cwd())))
    try:
        timings = _timings(pool, parts, processes, resources)
    except BrokenProcessPool:
        raise ProbeError(
            "a process of the probe died, possibly because memory ran out; lower --max-concurrent"
        ) from None
    finally:
        for process in set(multiprocessing.active_children()).difference(others):
            process.kill()
        pool.shutdown(cancel_futures=True)
    means = {part: sum(each.seconds for each in found) / len(found) for part, found in timings.items()}
    quantities = {part: _mean_quantities(found) for part, found in timings.items()}
    return ProbeResult(means, min(each.ready for found in timings.values() for each in found) - started, quantities)


def _timings(
    pool: ProcessPoolExecutor, parts: Sequence["RecordPart"], processes: int, resources: Resources
) -> dict["RecordPart", list[_Timing]]:
    """Returns at least one timing of each part. All processes stay busy until every part has been timed."""
    timings: dict[RecordPart, list[_Timing]] = {part: [] for part in parts}
    order = itertools.cycle(parts)
    running: dict[Future[_Timing], RecordPart] = {}
    began = time.monotonic()
    while not all(timings.values()) or time.monotonic() - began < LEAST_SECONDS:
        while len(running) < processes:
            part = next(order)
            running[pool.submit(_time, part, resources)] = part
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            timing = future.result()
            if timing.error:
                raise ProbeError(timing.error)
            timings[running.pop(future)].append(timing)
    return timings


def _mean_quantities(timings: Sequence[_Timing]) -> dict[str, float]:
    return {name: sum(each.quantities[name] for each in timings) / len(timings) for name in timings[0].quantities}


def _start(slots: "Synchronized[int]", gpu: bool, folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent ends this process
    threading.Thread(target=die_with_parent, daemon=True).start()
    sys.path.append(folder)  # the user's networks are imported from the folder of the command
    if gpu:
        with slots.get_lock():
            slot, slots.value = slots.value, slots.value + 1
        choose_gpu(slot)


def _time(part: "RecordPart", resources: Resources) -> _Timing:
    try:
        from orchestrator.training.cost import time_part
        from orchestrator.training.data.stand_in import probe_data
        from orchestrator.training.environment import reproducible
        from orchestrator.trial import device_of

        device = device_of(resources)
        with reproducible(resources.cpu):
            probe_data(part.config.data, device)
            ready, taken = time.time(), time_part(part, device)
            return _Timing(ready, taken.seconds, taken.quantities)
    except Exception as error:  # sent as text, since exceptions of the user's code may not be picklable
        return _Timing(0.0, 0.0, error=str(error) or type(error).__name__)
