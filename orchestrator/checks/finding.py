"""The result of one check."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """A run would work, but with limits or only after some preparation."""
    PROBLEM = "problem"
    """A run would fail."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, with a fix if there is a problem."""

    subject: str
    severity: Severity
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text


def ok(subject: str, text: str) -> Finding:
    """A finding that needs no action."""
    return Finding(subject, Severity.OK, text)


def warning(subject: str, text: str, fix: str = "") -> Finding:
    """A finding that does not prevent a run."""
    return Finding(subject, Severity.WARNING, text, fix)


def problem(subject: str, text: str | BaseException, fix: str = "") -> Finding:
    """A finding that would make a run fail. If an exception has no message, its type is shown."""
    return Finding(subject, Severity.PROBLEM, str(text) or type(text).__name__, fix)


def checked(subject: str, check: Callable[[], str]) -> Finding:
    """Runs a check. Its text becomes an ok finding, and an error that it raises becomes a problem."""
    try:
        return ok(subject, check())
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return problem(subject, error)


def summary(findings: Iterable[Finding]) -> str:
    """Counts by severity: ``11 ok, 1 warning, 0 problems``."""
    counts = Counter(finding.severity for finding in findings)
    warnings, problems = counts[Severity.WARNING], counts[Severity.PROBLEM]
    plural = {number: "" if number == 1 else "s" for number in (warnings, problems)}
    return f"{counts[Severity.OK]} ok, {warnings} warning{plural[warnings]}, {problems} problem{plural[problems]}"
