"""Interleaved timing, for comparable times on a shared machine, and ratios with confidence intervals."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from benchmarks.harness.settings import say

Samples = dict[str, list[float]]
"""Maps the name of a task to its seconds in each round."""
RESAMPLES = 2000


def seconds(task: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of a call by a clock, by default wall time, including the GPU work it launched."""
    _wait_for_gpu()
    started = clock()
    task()
    _wait_for_gpu()
    return clock() - started


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved(
    tasks: Mapping[str, Callable[[int], object]],
    rounds: int,
    rest: float = 0.0,
    on_sample: Callable[[str, int, float], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Times every task once per round, so that disturbances affect all tasks alike.

    The order is rotated from round to round.

    Args:
        tasks: functions of the index of the round.
        rounds: at least 1.
        rest: seconds to wait before each task, for background work of other tasks to end.
        on_sample: called with name, round and seconds.
        clock: `time.process_time` for CPU time, which other processes disturb less.
    """
    samples: Samples = {name: [] for name in tasks}
    names = list(tasks)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(rest)
            samples[name].append(seconds(partial(tasks[name], number), clock))
            if on_sample:
                on_sample(name, number, samples[name][-1])
    return samples


def say_sample(name: str, number: int, sample: float) -> None:
    """Prints one sample. Can be passed as `on_sample` to `interleaved`."""
    say(f"  round {number}: {name} {sample:.2f} s")


def fastest(tasks: Mapping[str, Callable[[], object]]) -> tuple[str, Samples]:
    """Returns the name of the fastest task and the samples of two interleaved rounds."""
    samples = interleaved({name: lambda _, task=task: task() for name, task in tasks.items()}, rounds=2)  # type: ignore[misc]
    return min(samples, key=lambda name: min(samples[name])), samples


@dataclass(frozen=True)
class Ratio:
    """The ratio of two times."""

    value: float
    """The ratio of the medians."""
    low: float
    high: float
    """Bounds of the 95% bootstrap interval over the rounds."""

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Median of `theirs` over median of `ours`, with a bootstrap interval.

    The samples of a round are resampled together because they had similar disturbances. With two rounds, the interval
    is the range of the ratios.

    Raises:
        ValueError: the numbers of rounds differ or are zero.
    """
    if len(theirs) != len(ours) or not ours:
        raise ValueError(
            f"{len(theirs)} and {len(ours)} samples; expected equally many, at least 1: time them interleaved"
        )
    draw = random.Random(0)  # fixed seed, so that the same samples give the same table
    rounds = range(len(ours))
    drawn = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(rounds, k=len(ours))
        drawn.append(median(theirs[i] for i in chosen) / median(ours[i] for i in chosen))
    drawn.sort()
    tail = round(0.025 * RESAMPLES)
    return Ratio(median(theirs) / median(ours), drawn[tail], drawn[-1 - tail])
