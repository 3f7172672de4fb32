"""The local engine: the same trials in N plain processes of this machine, where Ray is not installed or not wanted."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from orchestrator.scheduling.worker import Job
from orchestrator.study.sweep import Resources

MAX_DEATHS = 3
"""How often a trial may take its process with it before it is left alone."""


def run_local(
    work: Job,
    trial_ids: list[str],
    resources: Resources,
    max_concurrent: int | None,
    on_start: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Runs trials in processes that each do one after the other, until all are done or refuse to begin."""
    slots = trials_at_a_time(resources, max_concurrent)
    on_start()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for trial_id in trial_ids:
        waiting.put(trial_id)
    processes = [_WorkerProcess(work, slot, resources) for slot in range(min(slots, len(trial_ids)))]
    try:
        with ThreadPoolExecutor(len(processes)) as pool:
            try:
                for done in [pool.submit(_drain, process, waiting, say) for process in processes]:
                    done.result()
            except BaseException:
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


def _drain(process: "_WorkerProcess", waiting: "queue.SimpleQueue[str]", say: Callable[[str], None]) -> None:
    while True:
        try:
            trial_id = waiting.get_nowait()
        except queue.Empty:
            return
        for death in range(1, MAX_DEATHS + 1):
            if process.run(trial_id):
                break
            if process.killed:
                return
            again = "trying again from its last epoch" if death < MAX_DEATHS else f"left alone after {death} times"
            say(f"trial {trial_id}: its process died (exit code {process.exit_code}); {again}")


class _WorkerProcess:
    """A process that is sent trial ids, started when first needed and again after it died."""

    def __init__(self, work: Job, slot: int, resources: Resources) -> None:
        self.killed = False
        self.exit_code: int | None = None
        self._arguments = (work, slot, resources.gpu > 0)
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._starting = threading.Lock()

    def run(self, trial_id: str) -> bool:
        """Sends a trial and waits for its end. False where the process died instead."""
        with self._starting:
            if self.killed:
                return False
            process, connection = self._running()
        try:
            connection.send(trial_id)
            connection.recv()
            return True
        except (EOFError, OSError):
            process.join()
            self.exit_code = process.exitcode
            self._process = None
            return False

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the driver decides what it means
    threading.Thread(target=die_with_parent, daemon=True).start()
    if gpu:
        choose_gpu(slot)
    with contextlib.suppress(EOFError):
        while True:
            work.run(connection.recv())
            connection.send(None)


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
