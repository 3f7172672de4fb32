"""Findings and their counts."""

from orchestrator.checks.finding import Finding, Severity, checked, problem, summary


def test_findings_are_counted() -> None:
    severities = [Severity.OK, Severity.OK, Severity.WARNING, Severity.PROBLEM, Severity.PROBLEM]
    assert summary(Finding("x", severity, "") for severity in severities) == "2 ok, 1 warning, 2 problems"


def test_a_fix_follows_the_text() -> None:
    assert str(problem("x", "it is broken", "mend it")) == "it is broken; mend it"
    assert str(problem("x", "it is broken")) == "it is broken"


def test_an_error_is_a_problem_with_its_message_or_its_type() -> None:
    def fail(error: Exception) -> str:
        raise error

    assert checked("x", lambda: "fine") == Finding("x", Severity.OK, "fine")
    assert checked("x", lambda: fail(ValueError("no"))) == Finding("x", Severity.PROBLEM, "no")
    assert checked("x", lambda: fail(TimeoutError())) == Finding("x", Severity.PROBLEM, "TimeoutError")
