"""The user's own code behind the stored records of a trial, as recorded by its attempts."""

import time
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.trial import TrialStore

_RECORDED = "-code"
"""Ends the name of an attempt that computed nothing and only records code."""


def recorded_code(trial: TrialStore) -> dict[str, str]:
    """Maps the modules of the user's code behind the last record to digests. Empty if no code was used or recorded.

    Early versions recorded no code, or only the module that contains the network.
    """
    last = next(filter(None, map(trial.read_intact, reversed(trial.numbers()))), None)
    if last is None:
        return {}
    attempts = (a for a in reversed(trial.attempts()) if a.name == last.attempt or a.name.endswith(_RECORDED))
    return next((attempt.provenance.own_code for attempt in attempts), {})


def changed_code(recorded: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Maps recorded modules that now differ, or no longer exist, to their recorded digests."""
    return {module: digest for module, digest in recorded.items() if current.get(module) != digest}


def record_code(trial: TrialStore, current: Provenance) -> None:
    """Records the current code of a complete trial, whose earlier code was unknown or whose change was accepted.

    Args:
        trial: the trial. Nothing is recorded if its attempts were lost.
        current: has the current code, the accepted changes and the command.
    """
    last = next(reversed(trial.attempts()), None)
    if last is None:
        return
    now = max(time.time_ns() // 1_000_000, last.started_ms + 1)
    why = "accepted changed code" if current.accepted_code else "recorded the code"
    provenance = replace(last.provenance, own_code=current.own_code, accepted_code=current.accepted_code)
    record = replace(last, name=f"{now}{_RECORDED}", started_ms=now, provenance=provenance)
    trial.write_attempt(replace(record, reason=f"{why}, nothing was computed: {current.command}"))
