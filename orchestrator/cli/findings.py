"""Formats a finding of the doctor as a line for the terminal."""

from rich.text import Text

from orchestrator.checks.finding import Finding, Severity
from orchestrator.store.provenance.redaction import redacted

_COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.PROBLEM: "red"}


def finding_line(finding: Finding) -> Text:
    """Returns severity, subject and text, without credentials."""
    severity = (f"{finding.severity:<7}", _COLOURS[finding.severity])
    return Text.assemble(severity, f"  {finding.subject:<8}  {redacted(str(finding))}")
