"""The local engine: runs attempts in plain processes of this machine, without Ray."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.memory_kills import memory_kills
from orchestrator.scheduling.engines.worker_output import pipe_for_terminal, print_lines_of, write_into
from orchestrator.scheduling.job import Job
from orchestrator.scheduling.placement import capacity, on_this_machine, this_machine, trials_at_a_time
from orchestrator.scheduling.retry import Failure, death
from orchestrator.scheduling.stopping import SIGNALS
from orchestrator.study.sweep import Resources
from orchestrator.training.allocator import WORKER_ENVIRONMENT

log = logging.getLogger(__name__)
_WAKE_SECONDS = 0.2


@dataclass(frozen=True)
class LocalEngine:
    """Runs attempts in worker processes on this machine. Each process runs one attempt at a time."""

    resources: Resources
    max_concurrent: int | None = None

    def run(self, attempts: Attempts, on_start: Callable[[], None] = lambda: None) -> None:
        """Runs attempts until none is left. See `Engine`."""
        resources = on_this_machine(self.resources)
        attempts.grant(resources)
        count = min(trials_here(resources, self.max_concurrent), len(attempts))
        log.info("%s", capacity(resources, [this_machine()], count))
        for name, value in WORKER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        on_start()
        processes = [_WorkerProcess(attempts.job, slot, resources.gpu_share > 0) for slot in range(count)]
        with ThreadPoolExecutor(max(1, count)) as pool:
            try:
                waiting = {pool.submit(_run_attempts, process, attempts) for process in processes}
                while waiting:
                    # The main thread wakes up regularly to handle signals that another thread has received.
                    ended, waiting = wait(waiting, _WAKE_SECONDS, FIRST_COMPLETED)
                    for future in ended:
                        future.result()
            finally:
                attempts.close()
                for process in processes:
                    process.kill()


def trials_here(resources: Resources, max_concurrent: int | None = None) -> int:
    """Returns how many trials run on this machine at a time: at least 1, even if they request more CPUs than it has."""
    return max(1, trials_at_a_time(resources, [this_machine()], max_concurrent))


def _run_attempts(process: "_WorkerProcess", attempts: Attempts) -> None:
    while (attempt := attempts.wait()) is not None:
        failure = process.run(attempt.trial_id)
        if process.killed:
            return
        attempts.ended(attempt.trial_id, failure)


class _WorkerProcess:
    """A process that runs trials. It starts when first needed, and again if it has died."""

    def __init__(self, job: Job, slot: int, gpu: bool) -> None:
        self.killed = False
        self._arguments = (job, slot, gpu)
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def run(self, trial_id: str) -> Failure | None:
        """Runs a trial in the process. Returns None, or the failure of the trial or the process."""
        kills_before = memory_kills()
        with self._lock:
            if self.killed:
                return None
            process, connection = self._running()
        try:
            connection.send(trial_id)
            failure: Failure | None = connection.recv()
        except (EOFError, OSError):
            process.join()
            killed_for_memory = process.exitcode == -signal.SIGKILL and memory_kills() > kills_before
            failure = death(process.exitcode, killed_for_memory)
        if failure is not None:  # the process has ended too
            process.join()
            self._process = None
        return failure

    def kill(self) -> None:
        """Ends the process at once. It is not started again."""
        with self._lock:
            self.killed = True
            if process := self._process:  # `run` sets it to None once the process is dead
                process.kill()
                process.join()

    def _running(self) -> tuple[SpawnProcess, Connection]:
        if self._process is None or self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            output, their_output = pipe_for_terminal(context)
            arguments = (theirs, their_output, *self._arguments)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
            if output and their_output:
                their_output.close()
                print_lines_of(output)
        return self._process, self._connection


def _serve(connection: Connection, output: Connection | None, job: Job, slot: int, gpu: bool) -> None:
    write_into(output)
    for number in SIGNALS:  # a terminal sends signals to all processes, but only the driver handles them
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    if gpu:
        choose_gpu(slot)
    with contextlib.suppress(EOFError):
        while (failure := job.run(connection.recv())) is None:
            connection.send(None)
        # The process ends after a failure, which may have corrupted its state, for example its CUDA context.
        connection.send(failure)


def choose_gpu(slot: int) -> None:
    """Makes this process use the GPU of its slot, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(slot % torch.cuda.device_count())


def die_with_parent() -> None:
    """Exits this process when its parent ends. Otherwise it would compete with the workers of the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
