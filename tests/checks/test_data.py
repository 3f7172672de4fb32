"""Checks of data sets and user-defined networks."""

import sys
from pathlib import Path

import pytest

from orchestrator.checks.data import check_data, check_own_code, check_sweep
from orchestrator.checks.finding import Severity, ok
from orchestrator.study.parts.data_config import DigitsData, ImageFolderData, OwnData, TorchvisionData
from orchestrator.study.sweep import Resources, Sweep
from tests.training.trials import small_trial

pytestmark = pytest.mark.usefixtures("own_cache")


def test_data_on_this_machine_is_ok() -> None:
    assert check_data(DigitsData(name="digits")) == ok("data", "digits: part of scikit-learn")


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    finding = check_data(ImageFolderData(name="image_folder", path=str(tmp_path / "none")))
    assert finding.severity is Severity.PROBLEM
    assert finding.text.startswith(f"image_folder: data folder '{tmp_path}/none' does not exist")


def test_data_that_the_first_run_downloads_is_a_warning() -> None:
    finding = check_data(TorchvisionData(name="mnist"))
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("mnist: absent; the first run downloads it into ")


def test_every_data_set_and_network_of_a_sweep_is_checked_once() -> None:
    own = {"name": "tests.training.user_nets:Plain"}
    trials = tuple(small_trial(seed=seed, **fields) for seed in (0, 1) for fields in ({}, {"model": own}))
    findings = list(check_sweep(Sweep("four", "", trials, Resources())))
    assert findings == [check_data(DigitsData(name="digits")), check_own_code(own["name"])]


@pytest.mark.parametrize(
    ("name", "severity", "expected"),
    [
        ("doctors_nets:Net", Severity.OK, "doctors_nets:Net can be imported"),
        ("doctors_nets:Nut", Severity.PROBLEM, "doctors_nets:Nut: doctors_nets has no class or function 'Nut'"),
        (
            "absent_nets:Net",
            Severity.PROBLEM,
            "(ModuleNotFoundError: No module named 'absent_nets'); run",
        ),
        (
            "broken_nets:Net",
            Severity.PROBLEM,
            "cannot be imported (ZeroDivisionError: division by zero)",
        ),
    ],
)
def test_user_defined_networks_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, severity: Severity, expected: str
) -> None:
    (tmp_path / "doctors_nets.py").write_text("import torch\n\nclass Net(torch.nn.Linear):\n    pass\n")
    (tmp_path / "broken_nets.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "doctors_nets", raising=False)
    finding = check_own_code(name)
    assert finding.severity is severity
    assert expected in str(finding)


OWN_DATA = """
import torch

def load():
    return torch.ones(40, 2), torch.arange(40) % 2, torch.ones(9, 2), torch.arange(9) % 2

def fail():
    return 1 / 0
"""


def test_own_data_of_the_working_folder_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doctors_data.py").write_text(OWN_DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "doctors_data", raising=False)
    assert check_data(OwnData(name="doctors_data:load")) == ok("data", "doctors_data:load: 36 samples to train on")
    failed = check_data(OwnData(name="doctors_data:fail"))
    assert failed.severity is Severity.PROBLEM
    assert "raised when called: ZeroDivisionError: division by zero" in str(failed)
