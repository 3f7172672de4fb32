"""The faults of a storm. They hit only processes and files of the storm itself."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.store.errors import DamagedError
from tests.chaos.place import Place
from tests.chaos.processes import of_role
from tests.small_disk import fill
from tests.tracking.processes import stop_server

ROLES = ("driver", "worker", "raylet", "shipper")


@dataclass(frozen=True)
class Fault:
    """A fault: its kind, its target, and how long it lasts if it is temporary."""

    kind: str
    target: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.target}" + (f" for {self.seconds:.1f} s" if self.seconds else "")


def planned(seed: int, count: int, engine: str, disk: bool) -> list[Fault]:
    """Returns the faults of a storm: every kind in turn. The seed decides their order and length."""
    draw = random.Random(seed)
    roles = [role for role in ROLES if engine == "ray" or role != "raylet"]
    all_kinds = [("kill", role) for role in [*roles, "server"]] + [("stop", role) for role in [*roles, "server"]]
    all_kinds += [("corrupt", "checkpoint"), ("truncate", "checkpoint"), ("corrupt", "epoch"), ("cut", "tracker")]
    all_kinds += [("fill", "disk")] if disk else []
    # A fault of one trial or connection costs little time; a restart of the driver takes seconds.
    cheap = [("kill", "worker"), ("corrupt", "checkpoint"), ("truncate", "checkpoint"), ("kill", "shipper")]
    faults: list[Fault] = []
    while len(faults) < count:
        turn = [*all_kinds, *cheap]
        draw.shuffle(turn)
        lasting = ("stop", "cut", "fill")
        faults += [Fault(kind, target, draw.uniform(1, 4) if kind in lasting else 0.0) for kind, target in turn]
    return faults[:count]


def strike(fault: Fault, place: Place, draw: random.Random) -> str | None:
    """Injects a fault. Returns what it hit, or None if it has no target now."""
    how: dict[str, Callable[[Fault, Place, random.Random], str | None]] = {
        "kill": _signal,
        "stop": _signal,
        "corrupt": _damage,
        "truncate": _damage,
        "cut": _cut,
        "fill": _fill,
    }
    return how[fault.kind](fault, place, draw)


def _signal(fault: Fault, place: Place, draw: random.Random) -> str | None:
    if fault.target == "server":
        return _signal_server(fault, place)
    driver = place.driver.pid if place.driver and place.driver.poll() is None else None
    found = of_role(fault.target, driver, place.storage.root)
    if not found:
        return None
    process = draw.choice(sorted(found, key=lambda each: each.pid))
    if not process.send(signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP):
        return None
    if fault.kind == "stop":
        time.sleep(fault.seconds)
        process.send(signal.SIGCONT)
    return f"process {process.pid}"


def _signal_server(fault: Fault, place: Place) -> str | None:
    if place.server is None or place.server.poll() is not None:
        return None
    pid = place.server.pid
    if fault.kind == "kill":
        stop_server(place.server)
    else:
        os.killpg(pid, signal.SIGSTOP)
        time.sleep(fault.seconds)
        os.killpg(pid, signal.SIGCONT)
    return f"process group {pid}"


def _damage(fault: Fault, place: Place, draw: random.Random) -> str | None:
    """Corrupts the newest checkpoint of an unfinished trial, or the record of any epoch."""
    committed = {key: epochs for key in place.sweep.by_id if (epochs := place.storage.trial(key).numbers())}
    if fault.target == "checkpoint":
        committed = {key: epochs for key, epochs in committed.items() if epochs[-1] < place.sweep.by_id[key].epochs}
    if not committed:
        return None
    trial_id = draw.choice(sorted(committed))
    epoch = committed[trial_id][-1] if fault.target == "checkpoint" else draw.choice(committed[trial_id])
    folder = place.storage.root / "trials" / trial_id
    try:
        name = f"checkpoints/{place.storage.trial(trial_id).read(epoch).checkpoint}"
        path = folder / (name if fault.target == "checkpoint" else f"epochs/{epoch:05d}.json")
        with path.open("r+b") as stream:
            size = path.stat().st_size
            if fault.kind == "truncate":
                stream.truncate(draw.randrange(size))
            else:
                stream.seek(at := draw.randrange(size))
                byte = stream.read(1)
                stream.seek(at)
                stream.write(bytes([byte[0] ^ 0xFF]))
    except (FileNotFoundError, ValueError, DamagedError):  # the trial has continued, or is already damaged
        return None
    return f"epoch {epoch} of {trial_id}"


def _cut(fault: Fault, place: Place, draw: random.Random) -> str | None:
    assert place.gate
    place.gate.close()
    time.sleep(fault.seconds)
    place.gate.open()
    return place.gate.uri


def _fill(fault: Fault, place: Place, draw: random.Random) -> str | None:
    ballast = fill(place.disk)
    size = ballast.stat().st_size
    time.sleep(fault.seconds)
    ballast.unlink()
    return f"{size / 2**20:.0f} MiB taken"
