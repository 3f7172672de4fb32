"""Facts about a sweep, its incomplete trials and its missing values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.analysis.quantities import TIMES, has_accuracies
from orchestrator.analysis.record_numbers import record_numbers
from orchestrator.store.frames import Frames
from orchestrator.study.record import SCALARS

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
        tuple(_facts(frames)), _incomplete(frames), tuple(_missing(frames)), has_accuracies(frames.epochs)
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


def _missing(frames: Frames) -> list[str]:
    epochs = frames.epochs
    if epochs.empty:
        return ["No epoch is stored yet."]
    requested = _requested(frames)
    absent, never = [], []
    for quantity in SCALARS:
        wanted = requested.get(quantity.key, pd.Series(True, epochs.index))
        count = int((epochs[quantity.column].isna() & wanted).sum())
        if epochs[quantity.column].isna().all() and wanted.any():
            never.append(quantity.key)
        elif count:
            absent.append(f"{quantity.key} is missing at {count:,} of {int(wanted.sum()):,} epochs.")
    gaps = record_numbers(frames).groupby(epochs.trial_id).agg(lambda numbers: int(numbers.max()) + 1 - len(numbers))
    return [
        *([f"Never measured: {', '.join(never)}."] if never else []),
        *absent,
        *(f"Trial {trial_id} lacks {count} intermediate epochs." for trial_id, count in gaps[gaps > 0].items()),
        *(f"Trial {row.trial_id}: {row.missing_quantities}." for row in _failed(frames)),
    ]


def _failed(frames: Frames) -> Iterator[Any]:
    """Yields the rows of trials in which a quantity of the user raised."""
    yield from frames.trials[frames.trials.missing_quantities.notna()].itertuples()


def _requested(frames: Frames) -> dict[str, "pd.Series[bool]"]:
    """Maps a quantity's key to a mask of the records that should have it. Quantities of every record are left out."""
    epochs, trials = frames.epochs, frames.trials.set_index("trial_id")
    estimators = epochs.trial_id.map(trials["measurement.estimators"])
    every = epochs.trial_id.map(trials["measurement.algorithm1_every"])
    numbers = record_numbers(frames)
    measured = numbers % epochs.trial_id.map(trials["measurement.every"]) == 0
    algorithm1 = measured & estimators.str.contains("algorithm1") & (numbers % every == 0)
    evaluated = numbers % epochs.trial_id.map(trials["evaluate_every"]) == 0
    requested: dict[str, pd.Series[bool]] = {}
    for quantity in SCALARS:
        topic, _, part = quantity.key.partition("/")
        if topic in ("hessian", "gradient", "algorithm1"):
            requested[quantity.key] = algorithm1 if topic == "algorithm1" else measured
        elif topic in ("loss", "accuracy", "r2"):
            due = pd.Series(True, epochs.index) if part == "train" else evaluated
            # Data has accuracies or R2. Version 0.1 did not record the losses of test and shifted samples.
            shown = f"{topic}_train" if topic != "loss" else quantity.column
            optional = topic != "loss" or quantity.key in ("loss/test", "loss/ood")
            requested[quantity.key] = due & _ever(epochs, shown) if optional else due
    requested["time/measure_seconds"] = measured
    # The Gauss-Newton trace is not stored if it equals the trace of the Hessian.
    differs = _ever(epochs, "hessian_gauss_newton_trace")
    return {**requested, "hessian/gauss_newton_trace": differs & measured}


def _ever(epochs: pd.DataFrame, column: str) -> "pd.Series[bool]":
    """Whether any record of the same trial has the quantity."""
    return epochs.trial_id.isin(epochs.trial_id[epochs[column].notna()])
