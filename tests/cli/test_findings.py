"""Lines of the doctor's findings."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.checks.finding import ok, problem, warning
from orchestrator.cli.findings import finding_line


def shown(line: Text) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(line)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip()


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (ok("devices", "2 cores"), "ok       devices   2 cores"),
        (warning("ray", "no node", "add one"), "warning  ray       no node; add one"),
        (problem("storage", ValueError("is full")), "problem  storage   is full"),
    ],
)
def test_a_line_has_severity_subject_text_and_fix(finding: object, expected: str) -> None:
    assert shown(finding_line(finding)) == expected  # type: ignore[arg-type]


def test_severities_have_colours() -> None:
    colours = [str(finding_line(make("x", "y")).spans[0].style) for make in (ok, warning, problem)]
    assert colours == ["green", "yellow", "red"]


def test_credentials_are_hidden() -> None:
    line = shown(finding_line(problem("tracker", "http://me:secret@host:5000 does not answer")))
    assert "secret" not in line
    assert "host:5000 does not answer" in line
