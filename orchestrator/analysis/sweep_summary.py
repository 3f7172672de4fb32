"""Facts about a sweep, its incomplete trials and its missing values."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.analysis.missing_values import missing_values
from orchestrator.analysis.quantities import TIMES, has_accuracies
from orchestrator.analysis.record_numbers import record_numbers
from orchestrator.store.frames import Frames

_MOST_VALUES = 12
_SETTINGS = {
    "data": "data.name",
    "model": "model.name",
    "optimizer": "optimizer.name",
    "batch size": "batch_size",
    "learning rate": "optimizer.lr",
}


@dataclass(frozen=True)
class SweepSummary:
    """The sections "What was run", "Incomplete trials" and "Missing values" of the page."""

    facts: tuple[tuple[str, str], ...]
    """Pairs of (name, value)."""
    incomplete: pd.DataFrame
    """Diverged, failed and unfinished trials. Columns: ``trial``, ``what``, ``state``, ``epoch``, ``reason``."""
    missing: tuple[str, ...]
    """One sentence per kind of missing value."""
    has_accuracies: bool
    """Whether any epoch has an accuracy, which Table 1 needs."""


def summarise(frames: Frames) -> SweepSummary:
    """Summarises a sweep."""
    return SweepSummary(
        tuple(_facts(frames)), _incomplete(frames), tuple(missing_values(frames)), has_accuracies(frames.epochs)
    )


def _facts(frames: Frames) -> list[tuple[str, str]]:
    trials, epochs = frames.trials, frames.epochs
    states = trials.state.value_counts()
    hours = epochs[list(TIMES)].sum().sum() / 3600
    last = max((trial.records for trial in frames.sweep.trials), default=0)
    facts = [
        ("sweep", frames.sweep.name),
        ("trials", f"{len(trials)}: " + ", ".join(f"{count} {state}" for state, count in states.items())),
        (
            f"{frames.sweep.unit}s",
            f"{len(epochs):,} including untrained models, up to {last} per trial; {frames.points:,} numbers",
        ),
        *((name, _values(trials[key])) for name, key in _SETTINGS.items() if key in trials),
    ]
    if "data.train_subset" in trials and trials["data.train_subset"].notna().any():
        facts.append(("training samples", _values(trials["data.train_subset"])))
    return [
        *facts,
        ("measured on", f"a fraction of {_values(trials['measurement.fraction'])} of the training samples"),
        ("measured by", _values(trials["measurement.estimators"])),
        ("hardware", f"{_values(trials.processor)}; device {_values(trials.device)}; host {_values(trials.host)}"),
        ("commit", _values(trials["commit"])),
        ("trial hours", f"{hours:.2f}" if hours < 10 else f"{hours:.0f}"),
        ("version", frames.provenance.version),
    ]


def _values(column: "pd.Series[Any]") -> str:
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna().unique()]
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return ", ".join(values[:_MOST_VALUES]) + more if values else "unknown"


def _incomplete(frames: Frames) -> pd.DataFrame:
    rest = frames.trials[frames.trials.state != "completed"]
    last = record_numbers(frames).groupby(frames.epochs.trial_id).max()
    numbers = [f"{last.get(key, 0)}/{frames.sweep.by_id[key].records}" for key in rest.trial_id]
    epochs = pd.Series(numbers, rest.index, dtype="str")
    reasons = rest.failure.fillna("").mask(rest.state == "diverged", "the training loss is not finite (a valid result)")
    columns = {"trial": rest.trial_id, "what": rest.label, "state": rest.state, "epoch": epochs, "reason": reasons}
    return pd.DataFrame(columns).reset_index(drop=True)
