"""Checks all nodes of a Ray cluster in parallel, before trials are scheduled."""

import contextlib
import os
import pickle
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.checks.finding import Finding, Severity, ok, problem
from orchestrator.checks.node_fitness import NodeQuery
from orchestrator.checks.software import INSTALL, software
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import Data

PATIENCE_SECONDS = 60.0
"""Time to wait for the answer of a node, which starts a process and imports torch."""
CLOCK_SECONDS = 5.0
"""Maximum difference between the clocks of a node and the driver. Estimates of the remaining time use both clocks."""
_PINGS = 5


class UnfitNodesError(ValueError):
    """Nodes of the cluster cannot run the sweep. The message lists the nodes, their problems and how to fix them."""


@dataclass(frozen=True)
class NodeReport:
    """The findings on one node."""

    name: str
    """Host name and address."""
    findings: tuple[Finding, ...]
    cpus: float = 0.0
    """CPUs that the node offers to Ray."""
    gpus: float = 0.0
    memory_gib: float = 0.0
    """Memory that the node offers to Ray."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that prevent trials on the node."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.PROBLEM)


@dataclass(frozen=True)
class _Node:
    node_id: str
    host: str
    address: str
    cpus: float
    gpus: float
    memory_gib: float

    @property
    def name(self) -> str:
        return f"{self.host} ({self.address})" if self.host != self.address else self.host


def refuse_unfit(reports: Iterable[NodeReport]) -> None:
    """Raises UnfitNodesError if any node has a problem."""
    lines = [f"node {report.name}: {fault.subject}: {fault}" for report in reports for fault in report.problems]
    if lines:
        raise UnfitNodesError("\n  ".join(["nothing was scheduled, because nodes of the cluster are unfit:", *lines]))


def ask_nodes(storage: Storage, data: Iterable[Data], patience_seconds: float = PATIENCE_SECONDS) -> list[NodeReport]:
    """Returns a report on every node of the connected cluster that has CPUs or GPUs, sorted by host.

    Args:
        storage: the storage of the sweep. Files created for the check are removed again.
        data: the data sets of the sweep.
        patience_seconds: how long to wait for answers.

    Raises:
        StorageError: if the driver cannot write the storage.
    """
    nodes, chosen = _live_nodes(), tuple(data)
    if not nodes:
        return []
    with _probe_file(storage, nodes) as probe, _inspectors(nodes) as inspectors:
        checks = {node: inspectors[node].check.remote(probe.query(node, chosen)) for node in nodes}
        finished = _finished(list(checks.values()), patience_seconds)
        reports = {}
        for node, check in checks.items():
            timed_out = check not in finished
            found = [_timeout(patience_seconds)] if timed_out else _findings(probe, node, inspectors[node], check)
            reports[node.node_id] = NodeReport(node.name, tuple(found), node.cpus, node.gpus, node.memory_gib)
    remaining = {node.node_id for node in _live_nodes()}  # no trial is scheduled on nodes that have left
    return [report for node_id, report in reports.items() if node_id in remaining]


@dataclass(frozen=True)
class _ProbeFile:
    """A file in the storage, written by the driver and read by the nodes. Each node writes a copy as its answer."""

    storage: Storage
    name: str
    content: bytes

    def answer(self, node: _Node) -> str:
        return f"{self.name}-{node.node_id}"

    def answered(self, node: _Node) -> bool:
        """Whether the driver sees the file that a node has written."""
        return self.storage.files.read(self.answer(node)) == self.content

    def query(self, node: _Node, data: tuple[Data, ...]) -> bytes:
        """Returns the query for a node, pickled. If the node cannot unpickle it, the actor still reports the error."""
        root = str(self.storage.root)
        answer = self.answer(node)
        return pickle.dumps(NodeQuery(root, self.name, self.content, answer, software(), data, node.cpus, node.gpus))


@contextlib.contextmanager
def _probe_file(storage: Storage, nodes: list[_Node]) -> Iterator[_ProbeFile]:
    # If this process is killed, the store deletes the file later, like all files in .partial.
    probe = _ProbeFile(storage, f".partial/node-{secrets.token_hex(8)}", secrets.token_bytes(32))
    storage.files.create(probe.name, probe.content)
    try:
        yield probe
    finally:
        for name in (probe.name, *map(probe.answer, nodes)):
            with contextlib.suppress(OSError):
                storage.files.delete(name)


def _live_nodes() -> list[_Node]:
    from orchestrator.scheduling.engines.ray_nodes import living_nodes, node_memory_gib  # imports Ray

    found = [
        _Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node_memory_gib(node),
        )
        for node in living_nodes()
    ]
    offering = [node for node in found if node.cpus or node.gpus]
    return sorted(offering, key=lambda node: (node.host, node.address, node.node_id))


@contextlib.contextmanager
def _inspectors(nodes: list[_Node]) -> Iterator[dict[_Node, Any]]:
    """Runs an actor on each node during the block."""
    import ray

    inspectors = {node: _inspector(node) for node in nodes}
    try:
        yield inspectors
    finally:
        for inspector in inspectors.values():
            ray.kill(inspector)


def _inspector(node: _Node) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Inspector:
        """Defined in a function so that Ray sends its code. The version of this module on the node may differ."""

        def check(self, query: bytes) -> Any:
            # Ray hides GPUs from actors that reserve none.
            if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
                del os.environ["CUDA_VISIBLE_DEVICES"]
            from orchestrator.checks.node_fitness import check_node

            return check_node(pickle.loads(query))

        def now(self) -> float:
            return time.time()

    pinned = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.remote(Inspector).options(num_cpus=0, scheduling_strategy=pinned).remote()


def _finished(checks: list[Any], patience_seconds: float) -> set[Any]:
    import ray

    ready, _ = ray.wait(checks, num_returns=len(checks), timeout=patience_seconds, fetch_local=False)
    return set(ready)


def _timeout(seconds: float) -> Finding:
    fix = "see `ray status`; if the machine is overloaded, remove it from the cluster with `ray stop` there"
    return problem("node", f"did not answer within {seconds:.0f} s", fix)


def _findings(probe: _ProbeFile, node: _Node, inspector: Any, check: Any) -> Iterator[Finding]:
    import ray

    try:
        found: list[Finding] = ray.get(check)
        yield from found
        yield _clock(inspector)
    except (ray.exceptions.RayError, TimeoutError) as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        reason = (str(cause) or type(cause).__name__).strip().splitlines()[0]
        yield problem("versions", f"the check failed there ({type(cause).__name__}: {reason})", INSTALL)
        return
    shared = all(finding.severity is not Severity.PROBLEM for finding in found if finding.subject == "storage")
    if shared and not probe.answered(node):
        text = f"the driver cannot read a file that the node has written to {probe.storage.root}"
        yield problem("storage", text, "mount the same storage at the same path")


def _clock(inspector: Any) -> Finding:
    import ray

    samples = []
    for _ in range(_PINGS):
        sent = time.time()
        on_node = ray.get(inspector.now.remote(), timeout=PATIENCE_SECONDS)
        samples.append((sent, on_node, time.time()))
    return clock_finding(samples)


def clock_finding(samples: list[tuple[float, float, float]]) -> Finding:
    """Compares a node's clock with the driver's. Uses the request with the shortest round trip.

    Args:
        samples: (time of the request, time on the node, time of the answer), in Unix seconds.
    """
    sent, on_node, received = min(samples, key=lambda sample: sample[2] - sample[0])
    offset, error = on_node - (sent + received) / 2, (received - sent) / 2
    text = f"clock {abs(offset):.3f} s {'ahead' if offset > 0 else 'behind'} (±{error:.3f} s)"
    if abs(offset) - error > CLOCK_SECONDS:
        return problem("clock", f"{text}; expected at most {CLOCK_SECONDS:g} s", "start chrony or ntpd there")
    return ok("clock", text)
