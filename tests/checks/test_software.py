"""Checks of installed packages."""

import pytest

from orchestrator.checks.finding import Severity
from orchestrator.checks.software import check_packages


def test_packages_are_checked_against_the_requirements() -> None:
    requirements = [
        "torch>=2.6",
        'pandas>=99.1; extra == "sweep"',
        'ray[tune]>=2.59; extra == "sweep"',
        'not-there[x]>=1; extra == "sweep"',
        "neither>=3.1",
        'pytest>=99; extra == "test"',
        'typer>=0.15; extra == "sweep"',
        "winonly; sys_platform == 'win32'",
    ]
    pandas, absent, base, fine = ((finding.severity.value, str(finding)) for finding in check_packages(requirements))
    assert pandas[0] == "problem"
    assert pandas[1].endswith(" is too old, >=99.1 is needed; pip install --upgrade 'hessian-dynamics[sweep]'")
    assert absent == ("warning", "not-there is not installed; pip install 'hessian-dynamics[sweep]'")
    assert base == ("problem", "neither is not installed; pip install 'neither>=3.1'")
    assert fine[0] == "ok"
    assert fine[1].startswith("torch ")
    assert "ray " in fine[1]
    assert "typer" not in fine[1]


@pytest.mark.parametrize(
    ("installed", "needed", "fits"),
    [
        ("2.9", "2.10", False),
        ("2.10", "2.9", True),
        ("1.0.0a5", "1.0.1", False),
        ("2.14.1+cpu", "2.15", False),
        ("2.15.0+cpu", "2.15", True),
        ("3", "3.1", False),
        ("2.7.0.dev20250101", "2.6", True),
    ],
)
def test_versions_are_compared_numerically(
    monkeypatch: pytest.MonkeyPatch, installed: str, needed: str, fits: bool
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: installed)
    severities = [finding.severity for finding in check_packages([f"torch>={needed}"])]
    assert (Severity.PROBLEM not in severities) is fits
