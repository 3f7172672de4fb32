"""Cost of many trials, in Ray Tune and in the commands that read the storage."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import linear_regression
from typing import Any

from rich.console import Console

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number
from benchmarks.sweeps.fake_trial import FakeTrial, provenance
from benchmarks.sweeps.workplace import Workplace, workplace
from orchestrator.scheduling.driver import compute
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.progress.progress import Progress

NAME = "volume"
COMMANDS = ("plan", "status", "export", "ship")
SLOTS = 2


@dataclass(frozen=True)
class VolumeSizes:
    """Pairs (number of trials, epochs per trial). Each trial has one more record, that of epoch 0."""

    tune: tuple[int, int]
    """Run through Ray Tune with two workers; (0, 0) skips this part."""
    stored: tuple[int, int]
    """Written to a storage, read by the commands, and shipped to a new SQLite database."""
    frame: tuple[int, int]
    """Read into one frame."""


SIZES: dict[Scale, VolumeSizes] = {
    "full": VolumeSizes(tune=(1000, 20), stored=(10_000, 19), frame=(150, 99)),
    "quick": VolumeSizes(tune=(40, 3), stored=(200, 3), frame=(10, 9)),
    "tiny": VolumeSizes(tune=(0, 0), stored=(4, 1), frame=(2, 1)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Runs, writes and reads trials, each in a new process."""
    sizes = SIZES[settings.scale]
    yield {"sizes": asdict(sizes)}
    if sizes.tune[0]:
        with _sweep_of(*sizes.tune) as place:
            tune = _in_own_process(run_through_tune, place, *sizes.tune)
        say(f"  Ray Tune: {tune['seconds']:.0f} s")
        yield {"tune": tune}
    with _sweep_of(*sizes.stored) as place:
        fill_seconds = _fill(place)
        say(f"  storage filled in {fill_seconds:.0f} s")
        yield {"fill_seconds": fill_seconds, "commands": {command: _cost(place, command) for command in COMMANDS}}
    with _sweep_of(*sizes.frame) as place:
        _fill(place)
        yield {"frame": _in_own_process(read_frame, place)}


def table(result: Result) -> str:
    """One row per operation, with its cost and limit."""
    measured, sizes = result.measured, result.measured["sizes"]
    rows = _tune_rows(measured["tune"], *sizes["tune"]) if "tune" in measured else []
    trials, epochs = sizes["stored"]
    for command, taken in measured["commands"].items():
        limit = "5 s" if command in ("plan", "status") else ""
        name = f"`{command}`, {trials:,} trials of {epochs + 1} epochs"
        rows.append([name, f"{number(taken['seconds'])} s", limit, f"{taken['mib']:,.0f}"])
    frame, (trials, epochs) = measured["frame"], sizes["frame"]
    name = f"one frame, {trials:,} trials x {epochs + 1:,} epochs, {frame['points']:,} points"
    rows.append([name, f"{number(frame['seconds'])} s", "10 s", f"{frame['mib']:,.0f}"])
    return markdown(["operation", "cost", "limit", "MiB"], rows)


def _tune_rows(taken: dict[str, Any], trials: int, epochs: int) -> list[list[str]]:
    per_epoch = 1000 * SLOTS * taken["seconds"] / trials / (epochs + 1)
    name = f"Ray Tune, {trials:,} trials of {epochs + 1} epochs: the driver"
    return [
        [name, f"{number(taken['seconds'])} s", "", f"{taken['peak_mib']:,.0f}"],
        ["per trial and epoch of a worker", f"{number(per_epoch)} ms", "20 ms", ""],
        ["memory of the driver per trial", f"{number(taken['kib_a_trial'])} KiB", "", ""],
    ]


def run_through_tune(place: Workplace, trials: int, epochs: int) -> dict[str, float]:
    """Runs trials as the driver does. Returns their total seconds and the memory of the driver."""
    storage, sweep = place.storage, place.sweep
    store = storage.sweep(sweep.name)
    store.write_manifest(sweep, provenance())
    job = FakeTrial(str(storage.root), sweep.name)
    samples: list[tuple[float, float]] = []
    done = threading.Event()
    sampler = threading.Thread(target=_sample_memory, args=(storage.root / "trials", samples, done))
    sampler.start()
    with store.driver_lease:
        progress = Progress(sweep, storage, Console(file=io.StringIO()))
        compute(job, sweep, progress, RunOptions("ray", max_concurrent=SLOTS))
    done.set()
    sampler.join()
    stored = [storage.trial(trial_id) for trial_id in sweep.by_id]
    assert len(stored) == trials
    assert all(trial.numbers()[-1] == epochs for trial in stored)
    began = min(trial.attempts()[0].started_ms for trial in stored) / 1000
    ended = max(trial.read(epochs).record.timestamp_ms for trial in stored) / 1000
    steady = [(begun, mib) for begun, mib in samples if 0.2 * trials < begun < trials]
    slope = linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 2 else 0.0
    return {"seconds": ended - began, "peak_mib": max(mib for _, mib in samples), "kib_a_trial": 1024 * slope}


def read_frame(place: Workplace) -> dict[str, float]:
    """Reads a sweep into a frame. Returns the seconds, the number of points and the memory of the process."""
    from orchestrator.store.frames import read_frames

    began = time.perf_counter()
    frames = read_frames(place.storage, NAME)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "points": frames.points, "mib": _resident_mib()}


def _cost(place: Workplace, command: str) -> dict[str, float]:
    taken = place.call(command)
    if taken.code:
        raise RuntimeError(f"{command} failed:\n{taken.output[-2000:]}")
    say(f"  {command}: {taken.seconds:.1f} s, {taken.peak_mib:.0f} MiB")
    return {"seconds": taken.seconds, "mib": taken.peak_mib}


def _sweep_of(trials: int, epochs: int) -> AbstractContextManager[Workplace]:
    rates = {"optimizer.lr": [0.1, 0.05]} if trials % 2 == 0 else {}
    trial = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": max(1, epochs)}
    grid = {**rates, "seed": list(range(trials // 2 if rates else trials))}
    return workplace({"name": NAME, "trial": trial, "grid": grid})


def _fill(place: Workplace) -> float:
    """Commits all trials of a sweep. Returns the seconds that it took."""
    sweep, storage = place.sweep, place.storage
    storage.sweep(NAME).write_manifest(sweep, provenance())
    ids, began = list(sweep.by_id), time.perf_counter()
    with ProcessPoolExecutor(SLOTS, get_context("spawn")) as pool:
        for part in [pool.submit(commit_trials, str(storage.root), ids[slot::SLOTS]) for slot in range(SLOTS)]:
            part.result()
    return time.perf_counter() - began


def commit_trials(root: str, trial_ids: list[str]) -> None:
    """Commits trials without fsync. Runs in a subprocess."""
    os.fsync = lambda fd: None
    for trial_id in trial_ids:
        FakeTrial(root, NAME).run(trial_id)


def _in_own_process(task: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def _sample_memory(trials: Path, samples: list[tuple[float, float]], done: threading.Event) -> None:
    """Records the number of trials begun and the memory of this process in MiB, once a second."""
    while not done.wait(1.0):
        samples.append((len(os.listdir(trials)) if trials.is_dir() else 0, _resident_mib()))


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


BENCHMARK = Benchmark(NAME, measure, table)
