"""Describes the user's own quantities that raised."""

from collections.abc import Iterable

from orchestrator.counted import counted
from orchestrator.store.provenance.redaction import failure_line
from orchestrator.study.record import Record


def missing_quantities(records: Iterable[Record]) -> str | None:
    """Returns one line per quantity that raised, with the number of records and the last error; None if none did."""
    failures: dict[str, list[Record]] = {}
    for record in records:
        for name in record.failures:
            failures.setdefault(name, []).append(record)
    lines = [
        f"{name} raised at {counted(len(found), 'record')}, last in epoch {found[-1].epoch:g}: "
        f"{failure_line(found[-1].failures[name])}"
        for name, found in failures.items()
    ]
    return "; ".join(lines) or None
