"""Checks of nodes of a real cluster: one equals the driver, one has another commit, one does not answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.checks.finding import Severity, ok, problem
from orchestrator.checks.nodes import CLOCK_SECONDS, NodeReport, UnfitNodesError, clock_finding, refuse_unfit

ROOT = Path(__file__).parents[2]
_ASK = """
import json, os, signal, sys
from dataclasses import asdict
from pathlib import Path
from ray.cluster_utils import Cluster
from orchestrator.checks.nodes import ask_nodes
from orchestrator.scheduling.engines.ray import cluster
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import DigitsData

shadow, storage = sys.argv[1:3]
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes.add_node(num_cpus=1)
other = {"PYTHONPATH": shadow, "HESSIAN_DYNAMICS_COMMIT": "0ther"}
nodes.add_node(num_cpus=2, num_gpus=3, env_vars=other)
mute = nodes.add_node(num_cpus=3)
nodes.wait_for_nodes()
raylet = mute.all_processes["raylet"][0].process.pid
with cluster(nodes.address):
    data = [DigitsData(name="digits")]
    reports = [report for report in ask_nodes(Storage(storage), data, patience_seconds=150) if report.cpus < 3]
    os.kill(raylet, signal.SIGSTOP)
    try:
        reports += [report for report in ask_nodes(Storage(storage), data, patience_seconds=3) if report.cpus == 3]
    finally:
        os.kill(raylet, signal.SIGCONT)
nodes.shutdown()
Path(storage, "reports.json").write_text(json.dumps([asdict(report) for report in reports]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[tuple[str, str, str]]]:
    """Maps the number of CPUs of a node to its findings: subject, severity and text."""
    folder = tmp_path_factory.mktemp("nodes")
    for package in ("orchestrator", "estimators"):
        shutil.copytree(ROOT / package, folder / "shadow" / package, ignore=shutil.ignore_patterns("__pycache__"))
    storage = folder / "results"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "HESSIAN_DYNAMICS_"))}
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(folder / "shadow"), str(storage)],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), "HESSIAN_DYNAMICS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = json.loads((storage / "reports.json").read_text())
    assert os.listdir(storage / ".partial") == [], "probes are removed"
    return {
        report["cpus"]: [
            (each["subject"], each["severity"], "; ".join(filter(None, (each["text"], each["fix"]))))
            for each in report["findings"]
        ]
        for report in reports
    }


def problems(findings: list[tuple[str, str, str]]) -> list[str]:
    return [f"{subject}: {text}" for subject, severity, text in findings if severity == "problem"]


@pytest.mark.slow
def test_only_nodes_with_cores_are_checked(found: dict[float, list[tuple[str, str, str]]]) -> None:
    assert set(found) == {1.0, 2.0, 3.0}


@pytest.mark.slow
def test_a_node_like_the_driver_has_no_problem(found: dict[float, list[tuple[str, str, str]]]) -> None:
    assert problems(found[1.0]) == []
    said = {subject: text for subject, severity, text in found[1.0] if severity == "ok"}
    assert said["storage"] == "the driver's storage, writable"
    assert said["data"] == "digits: part of scikit-learn"
    assert said["clock"].startswith("clock 0.0")
    assert "cache" in said


@pytest.mark.slow
def test_another_commit_and_missing_gpus_are_reported(found: dict[float, list[tuple[str, str, str]]]) -> None:
    commit, gpus = problems(found[2.0])
    assert commit.startswith("versions: commit 0ther, expected ")
    assert "as on the driver; start the node from the driver's image" in commit
    assert gpus.startswith("devices: 3 GPUs of this node are registered with Ray, but torch finds 0")


@pytest.mark.slow
def test_a_node_that_does_not_answer_is_reported(found: dict[float, list[tuple[str, str, str]]]) -> None:
    (silent,) = problems(found[3.0])
    assert silent.startswith("node: did not answer within 3 s")


@pytest.mark.parametrize(
    ("offset", "seconds", "severity"),
    [
        (0.0, 0.01, Severity.OK),
        (CLOCK_SECONDS + 1, 0.01, Severity.PROBLEM),
        (-CLOCK_SECONDS - 1, 0.01, Severity.PROBLEM),
    ],
)
def test_clock_offset_is_computed_from_the_shortest_round_trip(offset: float, seconds: float, severity: str) -> None:
    slow = (100.0, 100.0 + 30, 130.0)
    quick = (200.0, 200.0 + seconds / 2 + offset, 200.0 + seconds)
    finding = clock_finding([slow, quick])
    assert finding.severity == severity
    assert finding.text.startswith(f"clock {abs(offset):.3f} s {'ahead' if offset > 0 else 'behind'} (±0.005 s)")


def test_a_slow_answer_is_not_taken_for_a_wrong_clock() -> None:
    assert clock_finding([(0.0, CLOCK_SECONDS + 6, 10.0)]).severity is Severity.OK


def test_all_unfit_nodes_are_listed_in_one_error() -> None:
    wrong = problem("storage", "another one", "mount it")
    reports = [NodeReport("a (10.0.0.1)", (wrong,)), NodeReport("b", (ok("clock", "fine"),))]
    with pytest.raises(UnfitNodesError) as refused:
        refuse_unfit([*reports, NodeReport("c", (wrong,))])
    assert str(refused.value).splitlines() == [
        "nothing was scheduled, because nodes of the cluster are unfit:",
        "  node a (10.0.0.1): storage: another one; mount it",
        "  node c: storage: another one; mount it",
    ]
    refuse_unfit(reports[1:])
