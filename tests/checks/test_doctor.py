"""What the doctor says, and that it changes nothing."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from orchestrator.checks import doctor
from orchestrator.checks.doctor import Check, Mark, examine, packages, summary
from orchestrator.checks.node_fitness import Finding, Weight
from orchestrator.checks.nodes import NodeReport
from orchestrator.cli import app
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep, load_sweep
from tests.training.trials import small_trial


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))


def look(folder: Path, sweep: Sweep | None = None, tracking_uri: str = "", ray: str | None = None) -> list[Check]:
    uri = tracking_uri or f"sqlite:///{folder}/mlflow.db"
    return list(examine(Storage(folder / "results"), uri, ray, (lambda: sweep) if sweep else None))


def of(checks: list[Check], subject: str) -> list[tuple[Mark, str]]:
    return [(check.mark, check.text) for check in checks if check.subject == subject]


def one_trial(**fields: object) -> Sweep:
    return Sweep("one", "", (small_trial(**fields),), Resources())


def test_a_healthy_place_has_no_problem_and_stays_as_it_is(tmp_path: Path) -> None:
    checks = look(tmp_path, load_sweep("quickstart"))
    assert [check for check in checks if check.mark is Mark.PROBLEM] == []
    assert list(tmp_path.iterdir()) == []
    assert {check.subject for check in checks} == {
        "versions", "devices", "cache", "sweep", "data", "storage", "tracker",
    }  # fmt: skip
    ours, shown = (text for _, text in of(checks, "versions"))
    assert ours.startswith("hessian-dynamics ")
    assert "Python 3." in ours
    assert all(name in shown for name in ("torch ", "torchvision ", "ray ", "mlflow ", "pandas "))
    assert of(checks, "sweep") == [(Mark.OK, "quickstart: 12 trials")]
    assert of(checks, "storage")[0][1].endswith("no sweeps yet")
    assert of(checks, "tracker") == [(Mark.OK, f"sqlite:///{tmp_path}/mlflow.db: the first run makes it")]
    assert (Mark.OK, "cpu: torch computes there") in of(checks, "devices")


def test_packages_are_compared_with_what_is_needed() -> None:
    checks = list(
        packages(
            [
                "torch>=2.6",
                'pandas>=99.1; extra == "sweep"',
                'ray[tune]>=2.59; extra == "sweep"',
                'not-there[x]>=1; extra == "sweep"',
                "neither>=3.1",
                'pytest>=99; extra == "test"',
                'typer>=0.15; extra == "sweep"',
            ]
        )
    )
    texts = [(check.mark.value, check.text) for check in checks]
    pandas, absent, base, fine = texts
    assert pandas[0] == "problem"
    assert pandas[1].endswith(" is too old, 99.1 is needed: pip install --upgrade 'hessian-dynamics[sweep]'")
    assert absent == ("warning", "not-there is not installed: pip install 'hessian-dynamics[sweep]'")
    assert base == ("problem", "neither is not installed: pip install 'neither>=3.1'")
    assert fine[0] == "ok"
    assert fine[1].startswith("torch ")
    assert "ray " in fine[1]
    assert "typer" not in fine[1]


@pytest.mark.parametrize(
    ("older", "newer"), [("2.9", "2.10"), ("1.0.0a5", "1.0.1"), ("2.14.1+cpu", "2.15"), ("3", "3.1"), ("", "0.1")]
)
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    assert doctor._numbers(older) < doctor._numbers(newer)


def test_missing_data_is_a_problem(tmp_path: Path) -> None:
    sweep = one_trial(data={"name": "image_folder", "path": str(tmp_path / "none")})
    ((mark, text),) = of(look(tmp_path, sweep), "data")
    assert mark is Mark.PROBLEM
    assert f"data folder '{tmp_path}/none' does not exist" in text


def test_a_broken_sweep_file_is_a_problem(tmp_path: Path) -> None:
    def load() -> Sweep:
        return load_sweep("quickstrat")

    checks = list(examine(Storage(tmp_path), f"sqlite:///{tmp_path}/m.db", None, load))
    ((mark, text),) = of(checks, "sweep")
    assert mark is Mark.PROBLEM
    assert "no sweep is named 'quickstrat'" in text
    assert of(checks, "tracker"), "the other checks go on"


@pytest.mark.parametrize(
    ("name", "mark", "said"),
    [
        ("doctors_nets:Net", Mark.OK, "doctors_nets:Net can be imported; a run executes its code"),
        ("doctors_nets:Nut", Mark.PROBLEM, "doctors_nets:Nut: doctors_nets has no class 'Nut'"),
        (
            "no_such_nets:Net",
            Mark.PROBLEM,
            "(ModuleNotFoundError: No module named 'no_such_nets'); run from",
        ),
        ("doctors_mess:Net", Mark.PROBLEM, "doctors_mess:Net cannot be imported (ZeroDivisionError: division by zero)"),
    ],
)
def test_networks_of_ones_own_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mark: Mark, said: str
) -> None:
    (tmp_path / "doctors_nets.py").write_text("import torch\n\nclass Net(torch.nn.Linear):\n    pass\n")
    (tmp_path / "doctors_mess.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "doctors_nets", raising=False)
    ((found, text),) = of(look(tmp_path, one_trial(model={"name": name})), "model")
    assert found is mark
    assert said in text


def test_an_absent_tracker_and_cluster_are_problems_without_passwords(tmp_path: Path) -> None:
    checks = look(tmp_path, tracking_uri="http://me:geheim@127.0.0.1:9", ray="127.0.0.1:9")
    ((tracker, said),) = of(checks, "tracker")
    ((ray, _),) = of(checks, "ray")
    assert (tracker, ray) == (Mark.PROBLEM, Mark.PROBLEM)
    assert "geheim" not in said
    assert not any("geheim" in check.shown().plain for check in checks)
    assert "geheim" not in Check("x", Mark.OK, "at http://me:geheim@host").shown().plain


def test_a_tracker_without_mlflow_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    ((mark, text),) = of(look(tmp_path, tracking_uri="http://127.0.0.1:9"), "tracker")
    assert mark is Mark.WARNING
    assert text.endswith("install it with: pip install 'hessian-dynamics[sweep]'; a run goes on without")


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").write_text("a file")
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "results" / "cache"))
    checks = look(tmp_path)
    assert [mark for mark, _ in of(checks, "storage") + of(checks, "cache")] == [Mark.PROBLEM, Mark.PROBLEM]
    assert "results cannot be written (Not a directory)" in of(checks, "storage")[0][1]
    assert of(checks, "cache")[0][1].endswith("; set HESSIAN_DYNAMICS_CACHE to it")


def test_a_place_with_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(2**40, 2**40, 2**28))
    checks = look(tmp_path)
    for subject, hint in (("storage", "another folder with --storage"), ("cache", "HESSIAN_DYNAMICS_CACHE names")):
        ((mark, text),) = of(checks, subject)
        assert mark is Mark.WARNING
        assert "0.2 GiB free" in text
        assert hint in text


def test_decoded_copies_of_other_versions_are_told_with_the_command_that_removes_them(tmp_path: Path) -> None:
    older = tmp_path / "cache" / "decoded-cifar10-0123"
    older.mkdir(parents=True)
    (older / "train.pixels").write_bytes(bytes(1000))
    said = "1 decoded by other versions, 0.0 GiB, which this one does not read; to make room: rm -rf "
    assert of(look(tmp_path), "cache")[1] == (Mark.OK, f"{said}{older}")
    older.rename(tmp_path / "elsewhere")
    assert len(of(look(tmp_path), "cache")) == 1


def test_sweeps_that_are_there_are_counted(tmp_path: Path) -> None:
    Storage(tmp_path / "results").sweep("one").write_manifest(one_trial(), capture())
    assert of(look(tmp_path), "storage")[0][1].endswith(", 1 sweep there")


def test_a_gpu_that_is_asked_for_and_not_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    sweep = Sweep("wants", "", (small_trial(),), Resources(gpu=0.5))
    warnings = [text for mark, text in of(look(tmp_path, sweep), "devices") if mark is Mark.WARNING]
    assert any("no GPU that torch can use, and sweep 'wants' asks for gpu: 0.5" in text for text in warnings)


def test_fewer_usable_cores_than_there_are_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.devices.usable_cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    sweep = Sweep("wide", "", (small_trial(),), Resources(cpu=2))
    mark, text = of(look(tmp_path, sweep), "devices")[0]
    assert mark is Mark.WARNING
    assert text.startswith("64 cores, 4 usable")
    assert text.endswith("--max-concurrent 2")


def test_findings_are_counted() -> None:
    marks = [Mark.OK, Mark.OK, Mark.WARNING, Mark.PROBLEM, Mark.PROBLEM]
    assert summary(Check("x", mark, "") for mark in marks) == "2 ok, 1 warning, 2 problems"


def test_a_node_is_one_line_where_it_is_fit_and_one_a_finding_where_not() -> None:
    fine = Finding("storage", Weight.OK, "the driver's storage, writable")
    wrong = Finding("versions", Weight.PROBLEM, "torch 2.0.0, expected 2.14.1 as the driver has it")
    unknown = Finding("versions", Weight.WARNING, "its commit is not known")
    fit = NodeReport("a (10.0.0.2)", (fine, Finding("clock", Weight.OK, "clock 0.001 s ahead")), cpus=2.0)
    assert [(check.mark, check.text) for check in doctor._node(fit)] == [
        (Mark.OK, "a (10.0.0.2): the driver's storage, writable; clock 0.001 s ahead")
    ]
    assert [(check.mark, check.text) for check in doctor._node(NodeReport("b", (fine, wrong, unknown)))] == [
        (Mark.PROBLEM, "b: versions: torch 2.0.0, expected 2.14.1 as the driver has it"),
        (Mark.WARNING, "b: versions: its commit is not known"),
    ]
    assert doctor._fits(fit, None)
    assert doctor._fits(fit, Sweep("one", "", (), Resources(cpu=2)))
    assert not doctor._fits(fit, Sweep("one", "", (), Resources(cpu=2, gpu=0.5)))


def test_a_cluster_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    checks = list(examine(Storage(tmp_path / "results"), uri, "127.0.0.1:9", None, ask_cluster=True))
    ((mark, text),) = of(checks, "ray")
    assert mark is Mark.PROBLEM
    assert text.startswith("nothing answers at Ray address '127.0.0.1:9'")
    assert not (tmp_path / "results").exists()


def test_nodes_are_asked_of_a_cluster_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert isinstance(result.exception, ValueError)
    assert "give its --address, or set RAY_ADDRESS" in str(result.exception)
