"""Asks every node of a Ray cluster whether it is fit for a sweep, all at once, before anything is scheduled there."""

import contextlib
import os
import pickle
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.checks.node_fitness import INSTALL, Finding, Question, Weight, software
from orchestrator.store.storage import Storage
from orchestrator.study.data_config import Data

PATIENCE_SECONDS = 60.0
"""A process starts and imports torch in it; a node that takes longer would not serve trials either."""
CLOCK_SECONDS = 5.0
"""By so much a node's clock may differ: times of epochs, and what is left of a sweep, are told from them."""
_PINGS = 5


class UnfitNodesError(ValueError):
    """Nodes of the cluster are not fit for the sweep; the message names each, what is wrong, and what to do."""


@dataclass(frozen=True)
class NodeReport:
    """What was found on a node."""

    name: str
    """Host name and address."""
    findings: tuple[Finding, ...]
    cpus: float = 0.0
    """What it offers to Ray."""
    gpus: float = 0.0

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Why a trial must not run there."""
        return tuple(finding for finding in self.findings if finding.weight is Weight.PROBLEM)


@dataclass(frozen=True)
class _Node:
    node_id: str
    host: str
    address: str
    cpus: float
    gpus: float

    @property
    def name(self) -> str:
        return f"{self.host} ({self.address})" if self.host != self.address else self.host


def refuse_unfit(reports: Iterable[NodeReport]) -> None:
    """Raises UnfitNodesError where a trial must not run on one of these nodes."""
    lines = [
        f"node {report.name}: {finding.subject}: {finding.text}" for report in reports for finding in report.problems
    ]
    if lines:
        every = "\n  ".join(lines)
        raise UnfitNodesError(f"nothing was scheduled, since the cluster is not fit:\n  {every}")


def ask_nodes(storage: Storage, data: Iterable[Data], patience_seconds: float = PATIENCE_SECONDS) -> list[NodeReport]:
    """What every living node that offers CPUs or GPUs says, in the order of their names. Ray must be connected.

    Args:
        storage: where trials will be written; probe files in it are removed again.
        data: what trials will read.
        patience_seconds: after which a node that has not answered is one that does not.

    Raises:
        StorageError: where the driver itself cannot write the storage.
    """
    nodes, chosen = _living(), tuple(data)
    if not nodes:
        return []
    with _probe(storage, nodes) as probe, _inspectors(nodes) as inspectors:
        asked = {node: inspectors[node].look.remote(_question(probe, node, chosen)) for node in nodes}
        answered = _answered(list(asked.values()), patience_seconds)
        reports = {}
        for node in nodes:
            heard = asked[node] in answered
            found = _findings(probe, node, inspectors[node], asked[node]) if heard else [_silent(patience_seconds)]
            reports[node.node_id] = NodeReport(node.name, tuple(found), node.cpus, node.gpus)
    # Whom Ray has lost meanwhile it gives no trial.
    left = {node.node_id for node in _living()}
    return [report for node_id, report in reports.items() if node_id in left]


@dataclass(frozen=True)
class _Probe:
    """What the driver has written into the storage for the nodes to read."""

    storage: Storage
    written: str
    content: bytes

    def answer(self, node: _Node) -> str:
        return f"{self.written}-{node.node_id}"

    def answered(self, node: _Node) -> bool:
        """Whether the driver sees what a node has written."""
        return self.storage.files.read(self.answer(node)) == self.content


@contextlib.contextmanager
def _probe(storage: Storage, nodes: list[_Node]) -> Iterator[_Probe]:
    # In the folder that is cleared of what killed writers leave.
    probe = _Probe(storage, f".partial/node-{secrets.token_hex(8)}", secrets.token_bytes(32))
    storage.files.create(probe.written, probe.content)
    try:
        yield probe
    finally:
        for name in (probe.written, *map(probe.answer, nodes)):
            with contextlib.suppress(OSError):
                storage.files.delete(name)


def _living() -> list[_Node]:
    import ray

    found = [
        _Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    offering = [node for node in found if node.cpus or node.gpus]
    return sorted(offering, key=lambda node: (node.host, node.address, node.node_id))


@contextlib.contextmanager
def _inspectors(nodes: list[_Node]) -> Iterator[dict[_Node, Any]]:
    """A process on each node, as long as the block runs."""
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
        """Sent as code, not by name: the node may have another version of ours, or none."""

        def look(self, question: bytes) -> Any:
            # Ray hides GPUs from who asks for none.
            if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
                del os.environ["CUDA_VISIBLE_DEVICES"]
            from orchestrator.checks.node_fitness import look

            return look(pickle.loads(question))

        def now(self) -> float:
            return time.time()

    pinned = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.remote(Inspector).options(num_cpus=0, scheduling_strategy=pinned).remote()


def _question(probe: _Probe, node: _Node, data: tuple[Data, ...]) -> bytes:
    root, answer = str(probe.storage.root), probe.answer(node)
    question = Question(root, probe.written, probe.content, answer, software(), data, node.cpus, node.gpus)
    return pickle.dumps(question)


def _answered(asked: list[Any], patience_seconds: float) -> set[Any]:
    import ray

    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=patience_seconds, fetch_local=False)
    return set(ready)


def _silent(seconds: float) -> Finding:
    text = f"did not answer within {seconds:.0f} s; is the machine alive and not overloaded? ray status says more"
    return Finding("node", Weight.PROBLEM, f"{text}; ray stop there takes it out")


def _findings(probe: _Probe, node: _Node, inspector: Any, answer: Any) -> Iterator[Finding]:
    import ray

    try:
        found: list[Finding] = ray.get(answer)
        yield from found
        yield _clock(inspector)
    except (ray.exceptions.RayError, TimeoutError) as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        reason = (str(cause) or type(cause).__name__).strip().splitlines()[0]
        yield Finding("versions", Weight.PROBLEM, f"cannot be asked ({type(cause).__name__}: {reason}); {INSTALL}")
        return
    shared = all(finding.weight is not Weight.PROBLEM for finding in found if finding.subject == "storage")
    if shared and not probe.answered(node):
        text = f"what it writes to {probe.storage.root} is not seen here; mount the same storage at the same path"
        yield Finding("storage", Weight.PROBLEM, text)


def _clock(inspector: Any) -> Finding:
    import ray

    samples = []
    for _ in range(_PINGS):
        sent = time.time()
        there = ray.get(inspector.now.remote(), timeout=PATIENCE_SECONDS)
        samples.append((sent, there, time.time()))
    return judge_clock(samples)


def judge_clock(samples: list[tuple[float, float, float]]) -> Finding:
    """How far a clock is off, from the quickest of some questions.

    Args:
        samples: when each was sent, what the node's clock said, and when that arrived, in seconds of Unix time.
    """
    sent, there, came = min(samples, key=lambda sample: sample[2] - sample[0])
    offset, error = there - (sent + came) / 2, (came - sent) / 2
    said = f"clock {abs(offset):.3f} s {'ahead' if offset > 0 else 'behind'}, known to {error:.3f} s"
    if abs(offset) - error > CLOCK_SECONDS:
        text = f"{said}; expected {CLOCK_SECONDS:g} s at most: start chrony or ntpd there"
        return Finding("clock", Weight.PROBLEM, text)
    return Finding("clock", Weight.OK, said)
