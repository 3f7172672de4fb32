"""Describes the user's own quantities that raised."""

from collections.abc import Iterable, Mapping

from orchestrator.counted import counted
from orchestrator.store.provenance.redaction import failure_line
from orchestrator.study.record import Record


def missing_quantities(records: Iterable[Record]) -> str | None:
    """Describes each quantity that raised in a trial: the number of records and the last error; None if none did."""
    lines = [
        f"{name} raised at {counted(len(raised), 'record')}, last in epoch {raised[-1].epoch:g}: "
        f"{failure_line(raised[-1].failures[name])}"
        for name, raised in _by_name(records).items()
    ]
    return "; ".join(lines) or None


def missing_in_sweep(records: Mapping[str, Iterable[Record]]) -> list[str]:
    """Returns a line per quantity that raised in any trial, with the last error. The records are given by trial."""
    raised: dict[str, list[tuple[str, Record]]] = {}
    for trial_id, found in records.items():
        for name, failed in _by_name(found).items():
            raised.setdefault(name, []).extend((trial_id, record) for record in failed)
    return [_line(name, failed) for name, failed in raised.items()]


def _by_name(records: Iterable[Record]) -> dict[str, list[Record]]:
    raised: dict[str, list[Record]] = {}
    for record in records:
        for name in record.failures:
            raised.setdefault(name, []).append(record)
    return raised


def _line(name: str, raised: list[tuple[str, Record]]) -> str:
    trials = len({trial_id for trial_id, _ in raised})
    trial_id, last = max(raised, key=lambda pair: pair[1].timestamp_ms)
    where = f"{counted(len(raised), 'record')} of {counted(trials, 'trial')}"
    return f"{name} raised at {where}, last in {trial_id}: {failure_line(last.failures[name])}"
