"""Probing side by side: as many processes as trials will run at once, all of them busy until the last part is known.

Two trials on one machine slow each other down: memory, cache, half a core each. A probe that ran alone would promise
what no run keeps.
"""

import itertools
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.scheduling.engines.local import choose_gpu, die_with_parent
from orchestrator.study.data_config import Data
from orchestrator.study.sweep import Resources

if TYPE_CHECKING:
    from orchestrator.training.cost import Part

LEAST_SECONDS = 4.0
"""Where few parts are to be probed they are probed again and again: one sample of a busy machine says little."""
_PART_SECONDS = 0.5
"""Of work to time in a part, where there are not too many of them."""
_TOTAL_SECONDS = 6.0
"""To be shared by the parts, on every process."""


class ProbeError(RuntimeError):
    """A part cannot be probed, and so a trial could not be run; the message says why."""


@dataclass(frozen=True)
class Probed:
    """What a probe found."""

    seconds: dict["Part", float]
    """Of every part, in an epoch."""
    start_seconds: float
    """From the start of a process until its data is there."""


def probe(parts: Sequence["Part"], processes: int, resources: Resources) -> Probed:
    """Probes parts, in the load of a run.

    Args:
        parts: what to probe; those on the same data together.
        processes: how many trials will run at a time.
        resources: of every trial.

    Raises:
        ProbeError: where a process died, or could not do a part.
    """
    budget = min(_PART_SECONDS, _TOTAL_SECONDS * processes / len(parts))
    with _started(processes, resources, parts[0].config.data, budget) as workers:
        start_seconds = max(worker.received() for worker in workers)
        return Probed(_probed(parts, workers), start_seconds)


def _probed(parts: Sequence["Part"], workers: Sequence["_Worker"]) -> dict["Part", float]:
    samples: dict[Part, list[float]] = {part: [] for part in parts}
    next_one = itertools.cycle(parts)
    at_work: dict[Connection, tuple[_Worker, Part]] = {}

    def hand_out(worker: _Worker) -> None:
        part = next(next_one)
        worker.connection.send(part)
        at_work[worker.connection] = worker, part

    began = time.monotonic()
    for worker in workers:
        hand_out(worker)
    while not all(samples.values()) or time.monotonic() - began < LEAST_SECONDS:
        for connection in wait(list(at_work)):
            assert isinstance(connection, Connection)
            worker, part = at_work[connection]
            samples[part].append(worker.received())
            hand_out(worker)
    return {part: sum(times) / len(times) for part, times in samples.items()}


class _Worker:
    """A process that is sent parts and sends seconds."""

    def __init__(self, slot: int, resources: Resources, data: Data, budget: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, slot, resources, data, budget, str(Path.cwd()), time.time())
        self.process: SpawnProcess = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def received(self) -> float:
        """The next number it sends."""
        try:
            answer: float | str = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise ProbeError(
                f"a process of the probe died (exit code {self.process.exitcode}); is there memory for so many trials "
                "at a time? --max-concurrent 1 takes the least"
            ) from None
        if isinstance(answer, str):
            raise ProbeError(answer)
        return answer


@contextmanager
def _started(processes: int, resources: Resources, data: Data, budget: float) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        workers += [_Worker(slot, resources, data, budget) for slot in range(processes)]
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _serve(
    connection: Connection, slot: int, resources: Resources, data: Data, budget: float, folder: str, started: float
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent ends this process
    threading.Thread(target=die_with_parent, daemon=True).start()
    sys.path.append(folder)  # networks of the user's own are imported from where the command was given
    try:
        import torch

        from orchestrator.training.cost import seconds
        from orchestrator.training.data.stand_in import probe_data
        from orchestrator.training.environment import reproducible

        if resources.gpu > 0:
            choose_gpu(slot)
        device = torch.device("cuda" if resources.gpu > 0 and torch.cuda.is_available() else "cpu")
        with reproducible(resources.cpu):
            probe_data(data, device)
            connection.send(time.time() - started)
            while True:
                connection.send(seconds(connection.recv(), device, budget))
    except EOFError:
        return
    except Exception as error:
        connection.send(str(error) or type(error).__name__)
