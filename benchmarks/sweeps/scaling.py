"""How a sweep scales over the nodes of a cluster: trials that sleep, through the engine and into the store.

Every node is a raylet of its own on this machine, with logical cores: sleeping trials leave the real
ones to the engine.
`python -m benchmarks scaling --only 8x1000` runs one case and leaves the stored ones as they are.
"""

import os
import resource
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.results import Result, begin, finish, stored_measurements
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure
from orchestrator.store.storage import Storage
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources

NAME = "scaling"
SLOTS = 2
"""Logical cores of a node."""
EPOCHS = 4
LOSS = "loss"


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    cases: tuple[tuple[int, int], ...]
    """Nodes and trials."""
    epoch_seconds: float
    losses: int
    """How often a node is lost."""


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(((1, 100), (2, 100), (4, 100), (8, 100), (8, 1000)), 1.0, 2),
    "quick": Sizes(((1, 8), (2, 16)), 0.5, 1),
    "tiny": Sizes(((1, 4),), 0.1, 0),
}


@dataclass(frozen=True)
class Simulated:
    """A job of known duration: sleeps and commits, epoch after epoch, from where the trial stands."""

    storage_root: str
    epochs: int
    epoch_seconds: float

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Leaves, beside the commits, when and on which node it began."""
        from ray import get_runtime_context

        began, where = time.time(), get_runtime_context().get_node_id()
        (Path(self.storage_root) / "starts" / f"{trial_id} {began!r} {where} {os.getpid()}").touch()
        store, attempt = Storage(self.storage_root).trial(trial_id), secrets.token_hex(4)
        known = store.epochs()
        for epoch in range(known[-1] + 1 if known else 0, self.epochs):
            time.sleep(self.epoch_seconds)
            record = EpochRecord(epoch, time.time_ns() // 1_000_000, loss_train=1.0)
            store.commit(record, b"nothing to go on from", "simulated", attempt)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """How many epochs are committed."""
        return TrialSnapshot(len(Storage(self.storage_root).trial(trial_id).epochs()))

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Nothing: it has no attempts to note it with."""


@dataclass(frozen=True)
class Start:
    """When a trial began somewhere."""

    trial_id: str
    at: float
    node: str
    pid: int


def starts(storage: Path) -> list[Start]:
    """Every start of every trial, in order."""
    fields = [path.name.split() for path in (storage / "starts").iterdir()]
    return sorted(
        (Start(name, float(at), node, int(pid)) for name, at, node, pid in fields), key=lambda start: start.at
    )


def run(settings: Settings) -> Result:
    """Runs the cases that are asked for; what is stored of the others stays."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    measured: dict[str, Any] = {"slots": SLOTS, "trial_seconds": EPOCHS * sizes.epoch_seconds}
    cases: dict[str, Callable[[], Any]] = {
        f"{nodes}x{trials}": lambda nodes=nodes, trials=trials: _case(nodes, trials, sizes)  # type: ignore[misc]
        for nodes, trials in sizes.cases
    }
    if sizes.losses:
        cases[LOSS] = lambda: [_loss(sizes) for _ in range(sizes.losses)]
    for name, case in settings.chosen(cases).items():
        measured[name] = {"load": os.getloadavg()[0], "found": case()}
        say(f"  {name}: {measured[name]}")
    # Read at the end: pieces may run at the same time.
    return finish(NAME, settings, machine, {**stored_measurements(NAME, settings, machine), **measured})


def table(result: Result) -> str:
    """Efficiency of every case, what the driver cost, and how long a lost trial stood still."""
    measured = result.measured
    rows = [_row(found["found"], found["load"]) for found in _cases(measured)]
    header = ["nodes", "trials", "slots", "s in all", "s without waits", "efficiency", "first trial after, s"]
    header += ["driver CPU, ms a trial", "load before"]
    text = (
        f"Trials of {number(measured['trial_seconds'])} s, {EPOCHS} commits each, {measured['slots']} at a time on a "
        "node. Efficiency: the time they would take without waits, over that from the first start to the last end."
    )
    if lost := measured.get(LOSS):
        seconds = ", ".join(f"{found['seconds']:.1f}" for found in lost["found"])
        text += f" A node was lost without warning; its trial ran again on the other one after {seconds} s."
    return f"{markdown(header, rows)}\n\n{text}\n\n![efficiency by nodes](results/{figure_name(result)})"


def figure_name(result: Result) -> str:
    """Of the figure beside the result."""
    return result.file_name.replace(".json", ".svg")


def figure(result: Result, path: Path) -> None:
    """Draws efficiency over nodes, a line for each number of trials."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    lines: dict[int, list[tuple[int, float]]] = {}
    for case in _cases(result.measured):
        found = case["found"]
        lines.setdefault(found["trials"], []).append((found["nodes"], 100 * _efficiency(found)))
    with mpl.rc_context({"svg.hashsalt": NAME, "svg.fonttype": "none"}):
        drawn = Figure((6.0, 3.5), layout="constrained")
        axes = drawn.subplots()
        for trials, points in sorted(lines.items()):
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=f"{trials:,} trials")
        axes.set(xlabel=f"nodes, {result.measured['slots']} trials at a time on each", ylabel="efficiency, %")
        axes.set_ylim(0, 105)
        axes.set_xticks([1, 2, 4, 8])
        axes.legend()
        drawn.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _cases(measured: dict[str, Any]) -> list[dict[str, Any]]:
    found = [case for name, case in measured.items() if "x" in name]
    return sorted(found, key=lambda case: (case["found"]["nodes"], case["found"]["trials"]))


def least_seconds(nodes: int, trials: int, slots: int, trial_seconds: float) -> float:
    """What trials take where none ever waits: as many rounds as the slots need."""
    return -(-trials // (nodes * slots)) * trial_seconds


def _efficiency(found: dict[str, Any]) -> float:
    return float(found["least"] / found["seconds"])


def _row(found: dict[str, Any], load: float) -> list[str]:
    return [
        str(found["nodes"]),
        f"{found['trials']:,}",
        str(found["slots"]),
        number(found["seconds"]),
        number(found["least"]),
        percent(_efficiency(found)),
        number(found["first_after"]),
        number(1000 * found["driver_cpu_seconds"] / found["trials"]),
        number(load),
    ]


def _case(nodes: int, trials: int, sizes: Sizes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = _job(scratch, EPOCHS, sizes.epoch_seconds)
        with _Nodes(nodes) as cluster:
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.time()
            names = [f"t{number_:05}" for number_ in range(trials)]
            RayEngine(Resources(), address=cluster.address).run(Attempts(job, names))
            after = resource.getrusage(resource.RUSAGE_SELF)
        storage = Storage(scratch)
        ends = [list(storage.trial(name).records())[-1] for name in names]
        if missing := [end.epoch for end in ends if end.epoch != EPOCHS - 1]:
            raise RuntimeError(f"{len(missing)} of {trials} trials did not end")
        first = starts(Path(scratch))[0].at
        slots = nodes * SLOTS
        return {
            "nodes": nodes,
            "trials": trials,
            "slots": slots,
            "seconds": max(end.timestamp_ms for end in ends) / 1000 - first,
            "least": least_seconds(nodes, trials, SLOTS, EPOCHS * sizes.epoch_seconds),
            "first_after": first - began,
            "driver_cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        }


def _loss(sizes: Sizes) -> dict[str, float]:
    """Takes one of two nodes away while a trial runs there, and sees when that trial runs on the other one."""
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = _job(scratch, 60, sizes.epoch_seconds)
        lost: dict[str, Any] = {}
        with _Nodes(2, slots=2) as cluster:

            def lose() -> None:
                while len(running := starts(Path(scratch))) < 2:
                    time.sleep(0.1)
                time.sleep(5 * sizes.epoch_seconds)
                victim = next(start for start in running if start.node in cluster.nodes)
                lost.update(trial=victim.trial_id, at=time.time())
                cluster.lose(victim.node)

            thread = threading.Thread(target=lose, daemon=True)
            thread.start()
            RayEngine(Resources(), address=cluster.address).run(Attempts(job, ["t0", "t1"]))
            thread.join()
        again = [start for start in starts(Path(scratch)) if start.trial_id == lost["trial"] and start.at > lost["at"]]
        return {"seconds": again[0].at - lost["at"], "epochs": len(Storage(scratch).trial(lost["trial"]).epochs())}


def _job(scratch: str, epochs: int, epoch_seconds: float) -> Simulated:
    (Path(scratch) / "starts").mkdir()
    return Simulated(scratch, epochs, epoch_seconds)


class _Nodes:
    """A head without cores, and nodes with logical ones, all on this machine."""

    def __init__(self, count: int, slots: int = SLOTS) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = {node.node_id: node for node in (self._cluster.add_node(num_cpus=slots) for _ in range(count))}
        self.address: str = self._cluster.address

    def lose(self, node_id: str) -> None:
        """As if its power were cut."""
        self._cluster.remove_node(self.nodes.pop(node_id), allow_graceful=False)

    def __enter__(self) -> "_Nodes":
        self._cluster.wait_for_nodes()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]
