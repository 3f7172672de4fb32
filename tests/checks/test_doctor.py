"""The findings of the doctor, which changes nothing."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from orchestrator.checks.doctor import Subject, examine, node_findings, offers
from orchestrator.checks.finding import Finding, Severity, ok, problem, warning
from orchestrator.checks.nodes import NodeReport
from orchestrator.cli import app
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep, load_sweep
from tests.training.trials import small_trial


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))


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


def test_missing_data_is_a_problem(tmp_path: Path) -> None:
    sweep = one_trial(data={"name": "image_folder", "path": str(tmp_path / "none")})
    ((severity, text),) = of(look(tmp_path, sweep), "data")
    assert severity is Severity.PROBLEM
    assert f"data folder '{tmp_path}/none' does not exist" in text


def test_a_broken_sweep_file_is_a_problem(tmp_path: Path) -> None:
    def load() -> Sweep:
        return load_sweep("quickstrat")

    checks = list(examine(Subject(Storage(tmp_path), f"sqlite:///{tmp_path}/m.db", load=load)))
    ((severity, text),) = of(checks, "sweep")
    assert severity is Severity.PROBLEM
    assert "no sweep is named 'quickstrat'" in text
    assert of(checks, "tracker"), "the other checks go on"


@pytest.mark.parametrize(
    ("name", "severity", "expected"),
    [
        ("doctors_nets:Net", Severity.OK, "doctors_nets:Net can be imported; a run executes its code"),
        ("doctors_nets:Nut", Severity.PROBLEM, "doctors_nets:Nut: doctors_nets has no class 'Nut'"),
        (
            "no_such_nets:Net",
            Severity.PROBLEM,
            "(ModuleNotFoundError: No module named 'no_such_nets'); run the command in",
        ),
        (
            "doctors_mess:Net",
            Severity.PROBLEM,
            "doctors_mess:Net cannot be imported (ZeroDivisionError: division by zero)",
        ),
    ],
)
def test_user_defined_networks_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, severity: Severity, expected: str
) -> None:
    (tmp_path / "doctors_nets.py").write_text("import torch\n\nclass Net(torch.nn.Linear):\n    pass\n")
    (tmp_path / "doctors_mess.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "doctors_nets", raising=False)
    ((found, text),) = of(look(tmp_path, one_trial(model={"name": name})), "model")
    assert found is severity
    assert expected in text


def test_unreachable_tracker_and_cluster_are_reported_without_passwords(tmp_path: Path) -> None:
    checks = look(tmp_path, tracking_uri="http://me:geheim@127.0.0.1:9", ray="127.0.0.1:9")
    ((tracker, said),) = of(checks, "tracker")
    ((ray, _),) = of(checks, "ray")
    assert (tracker, ray) == (Severity.PROBLEM, Severity.PROBLEM)
    assert "geheim" not in said


def test_a_tracker_without_mlflow_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    ((severity, text),) = of(look(tmp_path, tracking_uri="http://127.0.0.1:9"), "tracker")
    assert severity is Severity.WARNING
    assert text.endswith("install it with: pip install 'hessian-dynamics[sweep]'; sweeps run without MLflow")


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").write_text("a file")
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "results" / "cache"))
    checks = look(tmp_path)
    assert [severity for severity, _ in of(checks, "storage") + of(checks, "cache")] == [
        Severity.PROBLEM,
        Severity.PROBLEM,
    ]
    assert "results cannot be written (Not a directory)" in of(checks, "storage")[0][1]
    assert of(checks, "cache")[0][1].endswith("; set HESSIAN_DYNAMICS_CACHE to that folder")


def test_a_folder_with_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(2**40, 2**40, 2**28))
    checks = look(tmp_path)
    for subject, hint in (
        ("storage", "use another folder with --storage"),
        ("cache", "set HESSIAN_DYNAMICS_CACHE to another folder"),
    ):
        ((severity, text),) = of(checks, subject)
        assert severity is Severity.WARNING
        assert "0.2 GiB free" in text
        assert hint in text


def test_unused_decoded_copies_are_listed_with_the_command_to_remove_them(tmp_path: Path) -> None:
    older = tmp_path / "cache" / "decoded-cifar10-0123"
    older.mkdir(parents=True)
    (older / "train.pixels").write_bytes(bytes(1000))
    said = "1 decoded by other versions, 0.0 GiB, not used by this one; to free the space: rm -rf "
    assert of(look(tmp_path), "cache")[1] == (Severity.OK, f"{said}{older}")
    older.rename(tmp_path / "elsewhere")
    assert len(of(look(tmp_path), "cache")) == 1


def test_stored_sweeps_are_counted(tmp_path: Path) -> None:
    Storage(tmp_path / "results").sweep("one").write_manifest(one_trial(), capture())
    assert of(look(tmp_path), "storage")[0][1].endswith(", 1 sweep there")


def test_a_requested_but_missing_gpu_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    sweep = Sweep("wants", "", (small_trial(),), Resources(gpu=0.5))
    warnings = [text for severity, text in of(look(tmp_path, sweep), "devices") if severity is Severity.WARNING]
    assert any("torch finds no GPU, but sweep 'wants' requests gpu: 0.5" in text for text in warnings)


def test_limited_usable_cores_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.devices.usable_cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    sweep = Sweep("wide", "", (small_trial(),), Resources(cpu=2))
    severity, text = of(look(tmp_path, sweep), "devices")[0]
    assert severity is Severity.WARNING
    assert text.startswith("64 cores, 4 usable")
    assert text.endswith("--max-concurrent 2")


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
    assert offers(fit, None)
    assert offers(fit, Sweep("one", "", (), Resources(cpu=2)))
    assert not offers(fit, Sweep("one", "", (), Resources(cpu=2, gpu=0.5)))


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
