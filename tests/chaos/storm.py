"""Runs a storm: random faults during a sweep, a calm run to its end, and a comparison with an undisturbed twin."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.tables import markdown
from tests.chaos.comparison import Damage, compare
from tests.chaos.faults import Fault, planned, strike
from tests.chaos.place import Kind, Place, place

STILL_SECONDS = 120.0
"""A driver that commits no epoch for this long counts as hung."""
MOST_STARTS = 10
"""A storm fails if the driver ends this often without committing an epoch."""


@dataclass
class Storm:
    """The result of a storm."""

    kind: Kind
    engine: str
    trials: int
    struck: list[Fault] = field(default_factory=list)
    skipped: list[Fault] = field(default_factory=list)
    hangs: int = 0
    starts: int = 0
    seconds: float = 0.0
    damage: Damage = field(default_factory=Damage)


def run_storm(
    folder: Path,
    kind: Kind,
    engine: str,
    *,
    seed: int,
    faults: int,
    trials: int,
    epochs: int,
    epoch_seconds: float,
    say: Callable[[str], None],
    pause: float = 2.0,
) -> Storm:
    """Runs a storm with a number of faults in a folder, and then finishes the sweep without faults."""
    began, draw = time.monotonic(), random.Random(seed)
    storm = Storm(kind, engine, trials)

    def tell(line: str) -> None:
        say(f"{time.strftime('%H:%M:%S')} {time.monotonic() - began:6.1f} s  {line}")

    with place(folder, kind, engine, trials, epochs, epoch_seconds) as here:
        disk = os.path.ismount(here.disk)
        tell(f"storm over {trials} {kind} trials, engine {engine}, seed {seed}")
        if not disk:
            tell("no small disk can be mounted here, so none is filled")
        here.start_server()
        here.wait_for_server()
        here.start_driver()
        for fault in planned(seed, faults, engine, disk):
            _wait_for_epochs(here, storm, tell, draw.uniform(0.5, 1.5) * pause)
            hit = _when_there(fault, here, draw)
            (storm.struck if hit else storm.skipped).append(fault)
            tell(f"{fault}: {hit or 'no such target'}")
            if here.server and here.server.poll() is not None:
                time.sleep(draw.uniform(0.5, 3.0))
                here.start_server()
        tell("calm")
        here.wait_for_server()
        here.finish(600)
        storm.damage = compare(here.sweep, here.storage, here.twin, here.database)
        storm.starts = here.starts - 1
    storm.seconds = time.monotonic() - began
    for line in storm.damage.lines:
        say(line)
    return storm


def table(storms: list[Storm]) -> str:
    """Returns a table of faults by kind and target, and of the damage they caused."""
    names = [f"{storm.kind} trials, {storm.engine}" for storm in storms]
    counts = [Counter((fault.kind, fault.target) for fault in storm.struck) for storm in storms]
    rows = [
        [f"{kind} {target}", *(str(count[kind, target]) for count in counts)]
        for kind, target in sorted({key for count in counts for key in count})
    ]
    rows.append(["faults in total", *(str(len(storm.struck)) for storm in storms)])
    rows.append(["drivers started", *(str(storm.starts) for storm in storms)])
    rows.append(["trials", *(str(storm.trials) for storm in storms)])
    rows.append(["epochs compared", *(f"{storm.damage.epochs:,}" for storm in storms)])
    rows.append(["points compared in MLflow", *(f"{storm.damage.points:,}" for storm in storms)])
    rows += [
        [kind.replace("_", " "), *(str(storm.damage.counts[kind]) for storm in storms)] for kind in Damage().counts
    ]
    rows.append(["drivers that hung", *(str(storm.hangs) for storm in storms)])
    rows.append(["seconds", *(f"{storm.seconds:.0f}" for storm in storms)])
    return markdown(["", *names], rows)


def _epochs(here: Place) -> int:
    """Returns the number of committed epochs."""
    return sum(1 for _ in here.storage.root.glob("trials/*/epochs/*.json"))


def _wait_for_epochs(here: Place, storm: Storm, tell: Callable[[str], None], pause: float) -> None:
    """Keeps a driver running until it has committed an epoch, and then pauses."""
    before, since, starts = _epochs(here), time.monotonic(), here.starts
    while _epochs(here) == before:
        assert here.driver
        code = here.driver.poll()
        if code == 0:
            return  # all epochs are committed
        if code is not None:
            if here.starts - starts >= MOST_STARTS:
                raise RuntimeError(f"the driver ended {MOST_STARTS} times without an epoch: {here.tail()}")
            tell(f"the driver has ended ({code}) and is started again")
            here.start_driver()
        if time.monotonic() - since > STILL_SECONDS:
            tell(f"the driver hangs and is killed: {here.tail()}")
            storm.hangs += 1
            here.driver.kill()
            here.driver.wait()
            since = time.monotonic()
        here.note_family()
        time.sleep(0.2)
    time.sleep(pause)


def _when_there(fault: Fault, here: Place, draw: random.Random, patience: float = 15.0) -> str | None:
    """Injects a fault once it has a target."""
    deadline = time.monotonic() + patience
    while (hit := strike(fault, here, draw)) is None and time.monotonic() < deadline:
        assert here.driver
        if here.driver.poll() is not None:
            if here.driver.returncode == 0:
                return None
            here.start_driver()
        time.sleep(0.3)
    return hit
