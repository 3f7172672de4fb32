"""Example records, attempts and checkpoints, and helpers that run processes which write concurrently or are killed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.store.attempt import Attempt
from orchestrator.store.files.remeasurements import Remeasurement
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep

PROVENANCE = Provenance("0.1.0", None, "hessian-dynamics run", "here", "me", "3.11", "a processor", {"torch": "2.6"})


def config(**changes: Any) -> TrialConfig:
    """A trial of ten epochs."""
    content = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": 10}
    return TrialConfig.model_validate({**content, **changes})


SWEEP = Sweep(
    "night",
    "What becomes of them? - häufig",
    (
        config(seed=1),
        config(optimizer={"name": "adam", "lr": 1e-3, "eps": 1e-7}),
        config(data={"name": "image_folder", "path": "/images"}, measurement={"estimators": ["lanczos"]}),
        config(seed=0),
    ),
    Resources(cpu=2, gpu=0.125),
    "every 5",
)


def record(epoch: int, loss: float = 0.5) -> Record:
    """A record that is different for every epoch."""
    return Record(number=epoch, timestamp_ms=1000 + epoch, loss_train=loss, hessian_trace=epoch / 3)


def checkpoint(epoch: int) -> bytes:
    """The state after an epoch."""
    return b"state after epoch %d " % epoch * 1000


def remeasured(epoch: int, timestamp_ms: int = 9000, **changes: Any) -> Remeasurement:
    """The remeasurement of an epoch."""
    content = {
        "record": Record(number=epoch, timestamp_ms=timestamp_ms, hessian_trace=epoch / 7, lanczos_history=(0.1, 0.2)),
        "measurement": MeasurementConfig(fraction=0.5, estimators=("lanczos",)),
        "checkpoint_digest": "c" * 64,
        "data_digest": "d" * 64,
        "provenance": PROVENANCE,
        "environment": {"threads": 1},
    }
    return Remeasurement(**{**content, **changes})


def attempt(name: str = "1000-abc", started_ms: int = 1000, **changes: Any) -> Attempt:
    """An attempt at a trial."""
    content = {"first_record": 0, "provenance": PROVENANCE, "environment": {"threads": 1}}
    return Attempt(name=name, started_ms=started_ms, **{**content, **changes})


def files_in(folder: Path) -> list[str]:
    """The paths of all files below a folder, without scratch files."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in found if ".partial" not in path.parts)


FORKING = """\
import os, sys, time
from orchestrator.store.trial import TrialStore
from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.storage import Storage
from orchestrator.store.ownership.lease import Lease, LeaseHeldError
from tests.store import stored

def each(count, work):
    # The children start work at the same moment and need no imports.
    start = time.monotonic() + 0.2
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                while time.monotonic() < start:
                    pass
                os._exit(work(number) or 0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(99)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

def die_at(step):
    # Exits at the file operation with this index. Does not flush or clean up, like kill -9.
    left = step
    watched = {"open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.listdir", "os.scandir"}
    def hook(event, arguments):
        nonlocal left
        if event in watched:
            if left == 0:
                os._exit(42)
            left -= 1
    sys.addaudithook(hook)
"""


def python(code: str, *arguments: object) -> str:
    """Runs code in another process, with `each` and `die_at` defined. Returns its output."""
    done = subprocess.run(_command(code, arguments), capture_output=True, text=True, timeout=60, cwd=_REPOSITORY)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Runs code in another process, which must print `ready` first. Kills the process when the block ends."""
    process = subprocess.Popen(_command(code, arguments), stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a process by SIGKILL, and waits for it."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


_REPOSITORY = Path(__file__).parents[2]


def _command(code: str, arguments: tuple[object, ...]) -> list[str]:
    path = f"import sys; sys.path.insert(0, {str(_REPOSITORY)!r})\n"
    return [sys.executable, "-c", path + FORKING + textwrap.dedent(code), *map(str, arguments)]
