"""The local engine: the same trials in N plain processes of this machine, where Ray is not installed or not wanted."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.memory_kills import memory_kills
from orchestrator.scheduling.job import Job
from orchestrator.scheduling.retry import Failure, death
from orchestrator.scheduling.stopping import SIGNALS
from orchestrator.study.sweep import Resources

_WAKE_SECONDS = 0.2


def run_local(
    attempts: Attempts, resources: Resources, max_concurrent: int | None, on_start: Callable[[], None]
) -> None:
    """Makes attempts in processes that each do one after the other, until none is left."""
    slots = trials_at_a_time(resources, max_concurrent)
    on_start()
    processes = [_WorkerProcess(attempts.job, slot, resources) for slot in range(min(slots, len(attempts)))]
    if not processes:
        return
    try:
        with ThreadPoolExecutor(len(processes)) as pool:
            try:
                waiting = {pool.submit(_drain, process, attempts) for process in processes}
                while waiting:
                    # Not for ever: a signal that reaches another thread is handled only when this one wakes.
                    ended, waiting = wait(waiting, _WAKE_SECONDS, FIRST_COMPLETED)
                    for each in ended:
                        each.result()
            except BaseException:
                attempts.close()
                for process in processes:
                    process.kill()
                raise
    finally:
        for process in processes:
            process.kill()


def trials_at_a_time(resources: Resources, max_concurrent: int | None = None) -> int:
    """How many trials run side by side on this machine."""
    slots = max(1, (os.cpu_count() or 1) // resources.cpu)
    if resources.gpu > 0:
        import torch

        slots = min(slots, max(1, int(torch.cuda.device_count() / resources.gpu)))
    return min(slots, max_concurrent or slots)


def _drain(process: "_WorkerProcess", attempts: Attempts) -> None:
    while (turn := attempts.wait()) is not None:
        killed_before = memory_kills()
        done, failure = process.run(turn.trial_id)
        if process.killed:
            return
        if not done:
            out_of_memory = process.exit_code == -signal.SIGKILL and memory_kills() > killed_before
            failure = death(process.exit_code, out_of_memory)
        attempts.ended(turn.trial_id, failure)


class _WorkerProcess:
    """A process that is sent trial ids, started when first needed and again after it died."""

    def __init__(self, work: Job, slot: int, resources: Resources) -> None:
        self.killed = False
        self.exit_code: int | None = None
        self._arguments = (work, slot, resources.gpu > 0)
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._starting = threading.Lock()

    def run(self, trial_id: str) -> tuple[bool, Failure | None]:
        """Sends a trial and waits for its end: whether it came to one, or the process died, and how it failed."""
        with self._starting:
            if self.killed:
                return False, None
            process, connection = self._running()
        try:
            connection.send(trial_id)
            failure: Failure | None = connection.recv()
            if failure is None:
                return True, None
        except (EOFError, OSError):
            process.join()
            self.exit_code = process.exitcode
            self._process = None
            return False, None
        process.join()
        self._process = None
        return True, failure

    def kill(self) -> None:
        """Ends the process at once; it is not started again."""
        with self._starting:
            self.killed = True
            if process := self._process:  # which `run` forgets once it sees it dead
                process.kill()
                process.join()

    def _running(self) -> tuple[SpawnProcess, Connection]:
        if self._process is None or self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            self._process.start()
            theirs.close()
        return self._process, self._connection


def _serve(connection: Connection, work: Job, slot: int, gpu: bool) -> None:
    for number in SIGNALS:  # a terminal, or a job scheduler, sends them to all; the driver decides what they mean
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    if gpu:
        choose_gpu(slot)
    with contextlib.suppress(EOFError):
        while (failure := work.run(connection.recv())) is None:
            connection.send(None)
        # A failure may leave anything behind, a GPU that no longer answers: the next trial gets a new process.
        connection.send(failure)


def choose_gpu(slot: int) -> None:
    """Makes this process use the GPU of its slot, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(slot % torch.cuda.device_count())


def die_with_parent() -> None:
    """Waits for the parent process, and follows it at once."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # an orphan must not go on beside its successor
