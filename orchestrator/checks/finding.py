"""The result of one check."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.counted import counted


class Severity(StrEnum):
    """The consequence of a finding for a run."""

    OK = "ok"
    WARNING = "warning"
    """A run works with limitations, or after a step such as a download."""
    PROBLEM = "problem"
    """A run fails."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, with a fix if one is needed."""

    subject: str
    severity: Severity
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text


def ok(subject: str, text: str) -> Finding:
    """A result that needs no action."""
    return Finding(subject, Severity.OK, text)


def warning(subject: str, text: str, fix: str = "") -> Finding:
    """A fault that does not prevent a run."""
    return Finding(subject, Severity.WARNING, text, fix)


def problem(subject: str, text: str | BaseException, fix: str = "") -> Finding:
    """A fault that makes a run fail. An exception without a message is described by its type."""
    return Finding(subject, Severity.PROBLEM, str(text) or type(text).__name__, fix)


def checked(subject: str, check: Callable[[], str]) -> Finding:
    """Runs a check. The text that it returns becomes an ok finding, an error that it raises a problem."""
    try:
        return ok(subject, check())
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return problem(subject, error)


def summary(findings: Iterable[Finding]) -> str:
    """Counts by severity: ``11 ok, 1 warning, 0 problems``."""
    counts = Counter(finding.severity for finding in findings)
    warnings, problems = counted(counts[Severity.WARNING], "warning"), counted(counts[Severity.PROBLEM], "problem")
    return f"{counts[Severity.OK]} ok, {warnings}, {problems}"
