"""Scaling of a sweep with the number of cluster nodes: sleeping trials, the real engine, a real store.

The nodes are raylets on this machine with logical cores. Trials sleep, so that the engine has the real cores.
`python -m benchmarks scaling --only 8x1000` runs one case and keeps the stored results of the others.
"""

import os
import resource
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources

SLOTS = 2
"""Number of logical cores per node."""
EPOCHS = 4
LOSS = "loss"


@dataclass(frozen=True)
class ScalingSizes:
    cases: tuple[tuple[int, int], ...]
    """Pairs of (number of nodes, number of trials)."""
    epoch_seconds: float
    losses: int
    """Number of runs in which a node is killed."""


SIZES: dict[Scale, ScalingSizes] = {
    "full": ScalingSizes(((1, 100), (2, 100), (4, 100), (8, 100), (8, 1000)), 1.0, 2),
    "quick": ScalingSizes(((1, 8), (2, 16)), 0.5, 1),
    "tiny": ScalingSizes(((1, 4),), 0.1, 0),
}


@dataclass(frozen=True)
class SleepingTrial:
    """A job of known duration, which sleeps and then commits, for each missing epoch."""

    storage_root: str
    epochs: int
    epoch_seconds: float

    def with_resources(self, resources: Resources) -> "SleepingTrial":
        """Returns the job itself, which uses no resources."""
        return self

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Records the time and node of the start, then sleeps and commits."""
        from ray import get_runtime_context

        began, where = time.time(), get_runtime_context().get_node_id()
        folder = Path(self.storage_root) / "starts"
        folder.mkdir(exist_ok=True)
        (folder / f"{trial_id} {began!r} {where}").touch()
        store, attempt = Storage(self.storage_root).trial(trial_id), secrets.token_hex(4)
        known = store.numbers()
        for epoch in range(known[-1] + 1 if known else 0, self.epochs):
            time.sleep(self.epoch_seconds)
            record = Record(epoch, time.time_ns() // 1_000_000, loss_train=1.0)
            store.commit(record, b"no state", "simulated", attempt)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns a snapshot with the number of committed epochs."""
        return TrialSnapshot(len(Storage(self.storage_root).trial(trial_id).numbers()))

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Does nothing: the trial stores no attempts."""


@dataclass(frozen=True)
class TrialStart:
    """Time and node of one start of a trial."""

    trial_id: str
    at: float
    node: str


def starts(storage: Path) -> list[TrialStart]:
    """The starts of all trials, sorted by time."""
    fields = [path.name.split() for path in (storage / "starts").glob("*")]
    return sorted((TrialStart(name, float(at), node) for name, at, node in fields), key=lambda start: start.at)


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    sizes = SIZES[settings.scale]
    yield {"slots": SLOTS, "trial_seconds": EPOCHS * sizes.epoch_seconds}
    cases: dict[str, Callable[[], Any]] = {
        f"{nodes}x{trials}": lambda nodes=nodes, trials=trials: _case(nodes, trials, sizes)  # type: ignore[misc]
        for nodes, trials in sizes.cases
    }
    if sizes.losses:
        cases[LOSS] = lambda: [_loss(sizes) for _ in range(sizes.losses)]
    for name, case in settings.chosen(cases).items():
        measured = {"load": os.getloadavg()[0], "found": case()}
        say(f"  {name}: {measured}")
        yield {name: measured}


def table(result: Result) -> str:
    """Efficiency and CPU time of the driver by case, and the delay of a trial after the loss of its node."""
    measured = result.measured
    rows = [_row(found["found"], found["load"]) for found in _cases(measured)]
    header = ["nodes", "trials", "slots", "total, s", "ideal, s", "efficiency", "delay of first trial, s"]
    header += ["driver CPU per trial, ms", "load before"]
    text = (
        f"Trials of {number(measured['trial_seconds'])} s with {EPOCHS} commits each, {measured['slots']} at a time on "
        "a node. Efficiency is the ideal time divided by the time from the first start to the last end."
    )
    if lost := measured.get(LOSS):
        seconds = ", ".join(f"{found['seconds']:.1f}" for found in lost["found"])
        text += f" After a node was killed, its trial started on the other node after {seconds} s."
    return f"{markdown(header, rows)}\n\n{text}\n\n![efficiency by nodes](results/{result.figure_name})"


def figure(result: Result, path: Path) -> None:
    """Plots efficiency against the number of nodes, one line per number of trials."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    lines: dict[int, list[tuple[int, float]]] = {}
    for case in _cases(result.measured):
        found = case["found"]
        lines.setdefault(found["trials"], []).append((found["nodes"], 100 * _efficiency(found)))
    with mpl.rc_context({"svg.hashsalt": "scaling", "svg.fonttype": "none"}):
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
    """Time without any waiting: trials over slots, rounded up, times the duration of a trial."""
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


def _case(nodes: int, trials: int, sizes: ScalingSizes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = SleepingTrial(scratch, EPOCHS, sizes.epoch_seconds)
        with _Nodes(nodes) as cluster:
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.time()
            names = [f"t{number_:05}" for number_ in range(trials)]
            RayEngine(Resources(), address=cluster.address).run(Attempts(job, names))
            after = resource.getrusage(resource.RUSAGE_SELF)
        storage = Storage(scratch)
        ends = [list(storage.trial(name).records())[-1] for name in names]
        if missing := [end.epoch for end in ends if end.epoch != EPOCHS - 1]:
            raise RuntimeError(f"{len(missing)} of {trials} trials did not finish")
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


def _loss(sizes: ScalingSizes) -> dict[str, float]:
    """Kills one of two nodes while it runs a trial. Returns the seconds until the trial starts on the other node."""
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        job = SleepingTrial(scratch, 60, sizes.epoch_seconds)
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
        return {"seconds": again[0].at - lost["at"], "epochs": len(Storage(scratch).trial(lost["trial"]).numbers())}


class _Nodes:
    """A Ray cluster on this machine: a head node without cores, and nodes with logical cores."""

    def __init__(self, count: int, slots: int = SLOTS) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = {node.node_id: node for node in (self._cluster.add_node(num_cpus=slots) for _ in range(count))}
        self.address: str = self._cluster.address

    def lose(self, node_id: str) -> None:
        """Kills a node without warning."""
        self._cluster.remove_node(self.nodes.pop(node_id), allow_graceful=False)

    def __enter__(self) -> "_Nodes":
        self._cluster.wait_for_nodes()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


BENCHMARK = Benchmark("scaling", measure, table, figure)
