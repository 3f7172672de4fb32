"""The findings of the doctor, which changes nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.checks.doctor import Subject, examine, node_findings, placement_findings
from orchestrator.checks.finding import Finding, Severity, ok, problem, warning
from orchestrator.checks.nodes import NodeReport
from orchestrator.cli import app
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep, load_sweep
from tests.training.trials import small_trial

pytestmark = pytest.mark.usefixtures("own_cache")


def look(folder: Path, sweep: Sweep | None = None, tracking_uri: str = "", ray: str | None = None) -> list[Finding]:
    uri = tracking_uri or f"sqlite:///{folder}/mlflow.db"
    return list(examine(Subject(Storage(folder / "results"), uri, ray, (lambda: sweep) if sweep else None)))


def of(checks: list[Finding], subject: str) -> list[tuple[Severity, str]]:
    return [(check.severity, str(check)) for check in checks if check.subject == subject]


def one_trial(**fields: object) -> Sweep:
    return Sweep("one", "", (small_trial(**fields),), Resources())


def test_doctor_finds_no_problem_and_changes_nothing(tmp_path: Path) -> None:
    checks = look(tmp_path, load_sweep("quickstart"))
    assert [check for check in checks if check.severity is Severity.PROBLEM] == []
    assert list(tmp_path.iterdir()) == []
    assert {check.subject for check in checks} == {
        "versions", "devices", "cache", "sweep", "data", "storage", "tracker",
    }  # fmt: skip
    ours, shown = (text for _, text in of(checks, "versions"))
    assert ours.startswith("hessian-dynamics ")
    assert "Python 3." in ours
    assert all(name in shown for name in ("torch ", "torchvision ", "ray ", "mlflow ", "pandas "))
    assert of(checks, "sweep") == [(Severity.OK, "quickstart: 12 trials")]
    assert of(checks, "storage")[0][1].endswith("no sweeps yet")
    assert of(checks, "tracker") == [(Severity.OK, f"sqlite:///{tmp_path}/mlflow.db: the first run creates it")]
    assert (Severity.OK, "cpu: torch computes correctly") in of(checks, "devices")


def test_a_broken_sweep_file_is_a_problem(tmp_path: Path) -> None:
    def load() -> Sweep:
        return load_sweep("quickstrat")

    checks = list(examine(Subject(Storage(tmp_path), f"sqlite:///{tmp_path}/m.db", load=load)))
    ((severity, text),) = of(checks, "sweep")
    assert severity is Severity.PROBLEM
    assert "no sweep is named 'quickstrat'" in text
    assert of(checks, "tracker"), "the other checks go on"


def test_unreachable_tracker_and_cluster_are_reported_without_passwords(tmp_path: Path) -> None:
    checks = look(tmp_path, tracking_uri="http://me:geheim@127.0.0.1:9", ray="127.0.0.1:9")
    ((tracker, said),) = of(checks, "tracker")
    ((ray, _),) = of(checks, "ray")
    assert (tracker, ray) == (Severity.PROBLEM, Severity.PROBLEM)
    assert "geheim" not in said


def test_a_node_has_one_line_per_fault_or_a_single_one() -> None:
    fine = ok("storage", "the driver's storage, writable")
    wrong = problem("versions", "torch 2.0.0, expected 2.14.1 as on the driver", "install it")
    unknown = warning("versions", "its commit is not known")
    fit = NodeReport("a (10.0.0.2)", (fine, ok("clock", "clock 0.001 s ahead")), cpus=2.0)
    assert list(node_findings(fit)) == [ok("node", "a (10.0.0.2): the driver's storage, writable; clock 0.001 s ahead")]
    assert list(node_findings(NodeReport("b", (fine, wrong, unknown)))) == [
        problem("node", "b: versions: torch 2.0.0, expected 2.14.1 as on the driver", "install it"),
        warning("node", "b: versions: its commit is not known"),
    ]


def placed(resources: Resources | None, fixed_size: bool = True) -> list[Severity]:
    nodes = [NodeReport("a", (), cpus=2.0, memory_gib=4.0)]
    sweep = resources and Sweep("one", "", (), resources)
    return [finding.severity for finding in placement_findings(nodes, sweep, lambda: fixed_size)]


def test_a_trial_larger_than_every_node_is_a_problem_unless_the_cluster_grows() -> None:
    assert placed(None) == placed(Resources(cpu=2, memory_gib=4)) == placed(Resources(gpu="auto")) == []
    assert placed(Resources(memory_gib=5)) == [Severity.PROBLEM]
    assert placed(Resources(cpu=2, gpu=0.5)) == [Severity.PROBLEM]
    assert placed(Resources(cpu=2, gpu=0.5), fixed_size=False) == [Severity.WARNING]


def test_an_unreachable_cluster_is_one_problem(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    checks = list(examine(Subject(Storage(tmp_path / "results"), uri, "127.0.0.1:9", ask_cluster=True)))
    ((severity, text),) = of(checks, "ray")
    assert severity is Severity.PROBLEM
    assert text.startswith("nothing answers at Ray address '127.0.0.1:9'")
    assert not (tmp_path / "results").exists()


def test_checking_nodes_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert isinstance(result.exception, ValueError)
    assert "give its --address, or set RAY_ADDRESS" in str(result.exception)
