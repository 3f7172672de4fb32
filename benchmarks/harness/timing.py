"""Times that can be compared on a machine that others use too: taken in turns, and told with their spread."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

Samples = dict[str, list[float]]
"""Seconds by name, one a round."""
RESAMPLES = 2000


def seconds(task: Callable[[], object]) -> float:
    """Wall time of a call, with all that it launched on a GPU."""
    _wait_for_gpu()
    started = time.perf_counter()
    task()
    _wait_for_gpu()
    return time.perf_counter() - started


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved(
    tasks: Mapping[str, Callable[[int], object]],
    rounds: int,
    rest: float = 0.0,
    on_sample: Callable[[str, int, float], None] = lambda name, number, sample: None,
) -> Samples:
    """Seconds of every task in every round, taken in turns so that what disturbs one disturbs all.

    Every round begins with the next task, so that none always follows the same other one.

    Args:
        tasks: called with the number of the round, from 0.
        rounds: at least 1.
        rest: seconds of silence before each task, in which what another one left running comes to its end.
        on_sample: called with name, round and seconds.
    """
    samples: Samples = {name: [] for name in tasks}
    names = list(tasks)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(rest)
            samples[name].append(seconds(partial(tasks[name], number)))
            on_sample(name, number, samples[name][-1])
    return samples


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as another."""

    value: float
    """The ratio of the medians."""
    low: float
    high: float
    """The 95% bootstrap interval over the rounds."""

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Median of theirs over median of ours, with the interval that drawing the rounds anew gives.

    A round is drawn with the samples of both, which had the same neighbours. With two rounds the interval is the range.

    Raises:
        ValueError: where the two have not the same number of rounds, or none.
    """
    if len(theirs) != len(ours) or not ours:
        raise ValueError(f"{len(theirs)} and {len(ours)} samples, expected equally many, at least 1: time in turns")
    draw = random.Random(0)  # a table made again from the same samples must be the same table
    rounds = range(len(ours))
    drawn = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(rounds, k=len(ours))
        drawn.append(median(theirs[i] for i in chosen) / median(ours[i] for i in chosen))
    drawn.sort()
    tail = round(0.025 * RESAMPLES)
    return Ratio(median(theirs) / median(ours), drawn[tail], drawn[-1 - tail])
