"""The numbers of running and ended trials by node."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.progress.nodes import NodeCounts, NodeKey
from orchestrator.store.attempt import Attempt
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=1) for seed in range(12))
SWEEP = Sweep("twelve", "", TRIALS, Resources())


def on(host: str, node: str, name: str = "1", ended: str | None = None) -> Attempt:
    begun = attempt(name, ended)
    return replace(begun, node=node, provenance=replace(begun.provenance, host=host))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A storage whose sweep has a driver."""
    storage = Storage(tmp_path)
    with storage.sweep("twelve").driver_lease:
        yield storage


def write(storage: Storage, number: int, begun: Attempt) -> None:
    storage.trial(TRIALS[number].trial_id).write_attempt(begun)


def test_trials_are_counted_by_the_node_of_their_last_attempt(storage: Storage) -> None:
    commit_epochs(storage.trial(TRIALS[0].trial_id), range(2))
    write(storage, 1, on("a", "n1", ended="failed"))
    counts = NodeCounts(storage)

    def line() -> str:
        counts.update(reconcile(SWEEP, storage))
        return counts.line()

    assert line() == ""
    write(storage, 2, on("a", "n1"))
    assert line() == ""  # one node
    write(storage, 3, on("b", "n2"))
    write(storage, 1, on("b", "n2", "2"))  # the failed trial is tried again
    assert line() == "on a: 1 running, 0 ended; b: 2 running, 0 ended"
    write(storage, 1, on("b", "n2", "2", ended="failed"))
    commit_epochs(storage.trial(TRIALS[2].trial_id), range(2))
    assert line() == "on a: 0 running, 1 ended; b: 1 running, 1 ended"
    write(storage, 1, on("a", "n1", "3"))
    assert line() == "on a: 1 running, 1 ended; b: 1 running, 0 ended"


def test_nodes_of_one_host_are_distinguished_by_their_ids(storage: Storage) -> None:
    counts = NodeCounts(storage)
    for number, (host, node) in enumerate([("a", "0123456789"), ("a", "abcdefghij"), ("b", "xyz")]):
        write(storage, number, on(host, node))
    counts.update(reconcile(SWEEP, storage))
    assert counts.names() == {
        NodeKey("a", "0123456789"): "a (012345)",
        NodeKey("a", "abcdefghij"): "a (abcdef)",
        NodeKey("b", "xyz"): "b",
    }


def test_many_nodes_are_cut(storage: Storage) -> None:
    counts = NodeCounts(storage)
    for number in range(12):
        write(storage, number, on(f"host{number:02}", "n"))
    counts.update(reconcile(SWEEP, storage))
    assert counts.line().endswith("host07: 1 running, 0 ended; 4 more nodes")
