"""What many trials cost beside their training: through Ray Tune, and stored, through every command that reads them."""

import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import linear_regression
from typing import Any

import yaml
from rich.console import Console

from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number
from benchmarks.sweeps.fake_trial import FakeTrial, provenance
from orchestrator.scheduling.driver import compute
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.progress import Progress
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

NAME = "volume"
COMMANDS = ("plan", "status", "export", "ship")


@dataclass(frozen=True)
class Sizes:
    """How much there is: trials, and epochs of each beside epoch 0."""

    tune: tuple[int, int]
    """Run through Ray Tune with two workers; no trials: none."""
    stored: tuple[int, int]
    """Filled into a storage, then read by the commands, and shipped into a new SQLite file."""
    frame: tuple[int, int]
    """Read into one frame."""


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(tune=(1000, 20), stored=(10_000, 19), frame=(150, 99)),
    "quick": Sizes(tune=(40, 3), stored=(200, 3), frame=(10, 9)),
    "tiny": Sizes(tune=(0, 0), stored=(4, 1), frame=(2, 1)),
}


def run(settings: Settings) -> Result:
    """Runs, fills and reads; every number is taken in a process that does nothing else."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    measured: dict[str, Any] = {"sizes": asdict(sizes)}
    if sizes.tune[0]:
        with _scratch(*sizes.tune) as scratch:
            measured["tune"] = _alone(through_tune, scratch, *sizes.tune)
        say(f"  Ray Tune: {measured['tune']['seconds']:.0f} s")
    with _scratch(*sizes.stored) as scratch:
        folder = Path(scratch)
        measured["fill_seconds"] = _filled(folder, sizes.stored[0])
        say(f"  filled in {measured['fill_seconds']:.0f} s")
        measured["commands"] = {command: _timed(folder, command) for command in COMMANDS}
    with _scratch(*sizes.frame) as scratch:
        folder = Path(scratch)
        _filled(folder, sizes.frame[0])
        measured["frame"] = _alone(one_frame, str(folder / "results"))
    return finish(NAME, settings, machine, measured)


def table(result: Result) -> str:
    """A line for everything that was timed, with what it may take."""
    measured, sizes = result.measured, result.measured["sizes"]
    rows = []
    if "tune" in measured:
        rows += _tune_rows(measured["tune"], *sizes["tune"])
    for command, taken in measured["commands"].items():
        trials, epochs = sizes["stored"]
        limit = "5 s" if command in ("plan", "status") else ""
        what = f"`{command}`, {trials:,} trials of {epochs + 1} epochs"
        rows.append([what, f"{number(taken['seconds'])} s", limit, f"{taken['mib']:,.0f}"])
    frame = measured["frame"]
    trials, epochs = sizes["frame"]
    what = f"one frame, {trials:,} trials x {epochs + 1:,} epochs, {frame['points']:,} points"
    rows.append([what, f"{number(frame['seconds'])} s", "10 s", f"{frame['mib']:,.0f}"])
    return markdown(["what", "took", "at most", "MiB"], rows)


def _tune_rows(taken: dict[str, Any], trials: int, epochs: int) -> list[list[str]]:
    memory = f"{taken['peak_mib']:,.0f}"
    one = 1000 * SLOTS * taken["seconds"] / trials / (epochs + 1)
    through = f"Ray Tune, {trials:,} trials of {epochs + 1} epochs"
    return [
        [f"{through}: the driver", f"{number(taken['seconds'])} s", "", memory],
        ["of it, a trial-epoch of a worker", f"{number(one)} ms", "20 ms", ""],
        ["of it, one more trial in the driver's memory", f"{number(taken['kib_a_trial'])} KiB", "", ""],
    ]


SLOTS = 2


def through_tune(folder: str, trials: int, epochs: int) -> dict[str, float]:
    """Runs trials of no training as the driver would: seconds from the first to the last, and the driver's memory."""
    storage = Storage(Path(folder) / "results")
    sweep = _sweep(Path(folder))
    assert len(sweep.trials) == trials
    store = storage.sweep(sweep.name)
    store.write_manifest(sweep, provenance())
    work = FakeTrial(str(storage.root), sweep.name)
    console = Console(file=io.StringIO())
    samples: list[tuple[float, float, float]] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(storage.root / "trials", samples, done))
    watcher.start()
    with store.driver_lease:
        progress = Progress(sweep, storage, console)
        compute(work, sweep, progress, RunOptions("ray", max_concurrent=SLOTS))
    done.set()
    watcher.join()
    found = [storage.trial(trial_id) for trial_id in sweep.by_id]
    assert all(trial.epochs()[-1] == epochs for trial in found)
    began = min(trial.attempts()[0].started_ms for trial in found) / 1000
    ended = max(trial.read(epochs).record.timestamp_ms for trial in found) / 1000
    steady = [(begun, mib) for _, begun, mib in samples if 0.2 * trials < begun < trials]
    slope = linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 2 else 0.0
    return {"seconds": ended - began, "peak_mib": max(mib for _, _, mib in samples), "kib_a_trial": 1024 * slope}


def one_frame(root: str) -> dict[str, float]:
    """Seconds to read a sweep into a frame, its points, and the memory of the process."""
    from orchestrator.store.frames import read_frames

    began = time.perf_counter()
    frames = read_frames(Storage(root), NAME)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "points": frames.points, "mib": _resident_mib()}


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    seconds: float
    mib: float
    """The most memory it had at a time."""


def _timed(folder: Path, command: str) -> dict[str, float]:
    taken = _command(folder, command)
    say(f"  {command}: {taken.seconds:.1f} s, {taken.mib:.0f} MiB")
    return asdict(taken)


def _command(folder: Path, command: str) -> Taken:
    """Runs ``hessian-dynamics COMMAND`` on the sweep of a folder."""
    began = time.perf_counter()
    with (folder / f"{command}.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", command, str(folder / f"{NAME}.yaml")],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        mib = 0.0
        while process.poll() is None:
            mib = max(mib, _peak_mib(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{(folder / f'{command}.txt').read_text()[-2000:]}")
    return Taken(time.perf_counter() - began, mib)


def _peak_mib(pid: int) -> float:
    """The most memory a process has had; not wait4's, which begins with that of the process it was forked from."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _scratch(trials: int, epochs: int) -> "tempfile.TemporaryDirectory[str]":
    """A folder with a sweep file of so many trials."""
    scratch = tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-")
    rates = {"optimizer.lr": [0.1, 0.05]} if trials % 2 == 0 else {}
    content = {
        "name": NAME,
        "trial": {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": max(1, epochs)},
        "grid": {**rates, "seed": list(range(trials // 2 if rates else trials))},
    }
    (Path(scratch.name) / f"{NAME}.yaml").write_text(yaml.safe_dump(content))
    return scratch


def _sweep(folder: Path) -> Sweep:
    return load_sweep(str(folder / f"{NAME}.yaml"))


def _filled(folder: Path, trials: int) -> float:
    """Fills the storage of a folder; seconds."""
    sweep, storage = _sweep(folder), Storage(folder / "results")
    assert len(sweep.trials) == trials
    storage.sweep(NAME).write_manifest(sweep, provenance())
    ids, began = list(sweep.by_id), time.perf_counter()
    with ProcessPoolExecutor(SLOTS, get_context("spawn")) as pool:
        for part in [pool.submit(fill, str(storage.root), ids[slot::SLOTS]) for slot in range(SLOTS)]:
            part.result()
    return time.perf_counter() - began


def fill(root: str, trial_ids: list[str]) -> None:
    """Commits trials, in a process of its own, which does not wait for the disk: what is timed comes later."""
    os.fsync = lambda fd: None
    for trial_id in trial_ids:
        FakeTrial(root, NAME).run(trial_id)


def _alone(task: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def _watch(trials: Path, samples: list[tuple[float, float, float]], done: threading.Event) -> None:
    """Notes once a second how many trials have begun and how much memory this process has, in MiB."""
    began = time.monotonic()
    while not done.wait(1.0):
        begun = len(os.listdir(trials)) if trials.is_dir() else 0
        samples.append((time.monotonic() - began, begun, _resident_mib()))


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
