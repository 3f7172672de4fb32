"""Counts the trials of a run by the node that runs them."""

from collections import Counter
from dataclasses import dataclass

from orchestrator.scheduling.plan import Plan
from orchestrator.store.attempt import Attempt
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State, TrialStatus

_MOST_NODES = 8
"""Maximum number of nodes that the line lists."""
_ID_CHARACTERS = 6
"""Characters of a node's id that distinguish nodes with the same host name."""


@dataclass(frozen=True, order=True)
class NodeKey:
    """A node: the name of its host, and the id that the engine gives it, which is empty for the local engine."""

    host: str
    node_id: str

    @classmethod
    def of(cls, attempt: Attempt) -> "NodeKey":
        """Returns the node on which an attempt runs."""
        return cls(attempt.provenance.host, attempt.node)


class NodeCounts:
    """The numbers of trials that run and that have ended on each node since the first update.

    Args:
        storage: holds the attempts. The last attempt of each trial that ends is read once.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._ended_before: set[str] | None = None
        self._ended_on: dict[str, NodeKey] = {}
        self._running_on: dict[str, NodeKey] = {}

    def update(self, plan: Plan) -> None:
        """Counts the trials of a plan."""
        ended = {key: status for key, status in plan.statuses.items() if _has_ended(status)}
        if self._ended_before is None:
            self._ended_before = set(ended)
        attempts = {key: each.attempt for key, each in plan.statuses.items() if each.state is State.RUNNING}
        self._running_on = {key: NodeKey.of(attempt) for key, attempt in attempts.items() if attempt}
        self._ended_before -= self._running_on.keys()  # a failed trial that is tried again
        for key in self._ended_on.keys() & self._running_on.keys():
            del self._ended_on[key]
        for key in ended.keys() - self._ended_before - self._ended_on.keys():
            if attempts_of := self._storage.trial(key).attempts():
                self._ended_on[key] = NodeKey.of(attempts_of[-1])

    def names(self) -> dict[NodeKey, str]:
        """Maps the nodes with trials to their names. Nodes with the same host name are distinguished by their ids."""
        nodes = sorted({*self._running_on.values(), *self._ended_on.values()})
        hosts = Counter(node.host for node in nodes)
        return {
            node: node.host if hosts[node.host] == 1 else f"{node.host} ({node.node_id[:_ID_CHARACTERS]})"
            for node in nodes
        }

    def line(self) -> str:
        """``on worker-1: 2 running, 5 ended; worker-2: 2 running, 4 ended``. Empty if at most one node has trials."""
        names = self.names()
        if len(names) < 2:
            return ""
        running, ended = Counter(self._running_on.values()), Counter(self._ended_on.values())
        parts = [f"{name}: {running[node]} running, {ended[node]} ended" for node, name in names.items()]
        rest = [f"{len(parts) - _MOST_NODES} more nodes"] if len(parts) > _MOST_NODES else []
        return f"on {'; '.join([*parts[:_MOST_NODES], *rest])}"


def _has_ended(status: TrialStatus) -> bool:
    return status.state.final or status.state is State.FAILED
