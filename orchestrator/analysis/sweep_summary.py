"""What a sweep is and what is missing in it: counted, never filled in."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.store.frames import Frames
from orchestrator.study.record import SCALARS

_TIMES = ["time_train_seconds", "time_evaluate_seconds", "time_measure_seconds"]
_LISTED = 12


@dataclass(frozen=True)
class Account:
    """What was run, in lines of a name and a text, and what of it is not there."""

    facts: tuple[tuple[str, str], ...]
    not_whole: pd.DataFrame
    """One row a trial that diverged, failed or is unfinished: ``trial``, ``what``, ``state``, ``epoch``, ``reason``."""
    missing: tuple[str, ...]
    """Sentences."""


def account(frames: Frames) -> Account:
    """Counts a sweep."""
    return Account(tuple(_facts(frames)), _not_whole(frames), tuple(_missing(frames)))


def _facts(frames: Frames) -> list[tuple[str, str]]:
    trials, epochs = frames.trials, frames.epochs
    states = trials.state.value_counts()
    hours = epochs[_TIMES].sum().sum() / 3600
    last = int(trials.epochs.max()) if len(trials) else 0
    facts = [
        ("sweep", frames.sweep.name),
        ("trials", f"{len(trials)}: " + ", ".join(f"{count} {state}" for state, count in states.items())),
        ("epochs", f"{len(epochs):,} with their untrained models, up to {last} a trial; {frames.points:,} numbers"),
    ]
    named = {"data": "data.name", "model": "model.name", "optimizer": "optimizer.name", "batch size": "batch_size"}
    facts += [(name, _values(trials[key])) for name, key in named.items() if key in trials]
    facts += [("learning rate", _values(trials["optimizer.lr"]))] if "optimizer.lr" in trials else []
    if "data.train_subset" in trials and trials["data.train_subset"].notna().any():
        facts.append(("training images", _values(trials["data.train_subset"])))
    facts += [
        ("measured on", f"a fraction of {_values(trials['measurement.fraction'])} of the training images"),
        ("measured by", _values(trials["measurement.estimators"])),
        ("hardware", f"{_values(trials.processor)}; device {_values(trials.device)}; host {_values(trials.host)}"),
        ("commit", _values(trials["commit"])),
        ("trial hours", f"{hours:.2f}" if hours < 10 else f"{hours:.0f}"),
        ("version", frames.provenance.version),
    ]
    return facts


def _values(column: "pd.Series[Any]") -> str:
    found = [f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna().unique()]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return ", ".join(found[:_LISTED]) + more if found else "unknown"


def _not_whole(frames: Frames) -> pd.DataFrame:
    rest = frames.trials[frames.trials.state != "completed"]
    epochs = rest.last_epoch.clip(lower=0).astype(str) + "/" + rest.epochs.astype(str)
    reasons = rest.failure.fillna("")
    reasons = reasons.mask(rest.state == "diverged", "its training loss is no finite number: a result")
    columns = {"trial": rest.trial_id, "what": rest.label, "state": rest.state, "epoch": epochs, "reason": reasons}
    return pd.DataFrame(columns).reset_index(drop=True)


def _missing(frames: Frames) -> list[str]:
    epochs, total = frames.epochs, len(frames.epochs)
    if not total:
        return ["Not one epoch is stored yet."]
    due = _due(frames)
    found, never = [], []
    for quantity in SCALARS:
        wanted = due.get(quantity.key, pd.Series(True, epochs.index))
        absent = int((epochs[quantity.column].isna() & wanted).sum())
        if epochs[quantity.column].isna().all() and wanted.any():
            never.append(quantity.key)
        elif absent:
            found.append(f"{quantity.key} is missing at {absent:,} of {int(wanted.sum()):,} epochs.")
    found = [f"Never measured: {', '.join(never)}."] * bool(never) + found
    gaps = epochs.groupby("trial_id").epoch.agg(lambda e: int(e.max()) + 1 - len(e))
    found += [f"Trial {trial_id} lacks {count} epochs in between." for trial_id, count in gaps[gaps > 0].items()]
    return found


def _due(frames: Frames) -> dict[str, "pd.Series[bool]"]:
    """By key, the epochs at which it was asked for, where that is not every one."""
    epochs, trials = frames.epochs, frames.trials.set_index("trial_id")
    estimators = epochs.trial_id.map(trials["measurement.estimators"])
    every = epochs.trial_id.map(trials["measurement.algorithm1_every"])
    algorithm1 = estimators.str.contains("algorithm1") & (epochs.epoch % every == 0)
    due = {quantity.key: algorithm1 for quantity in SCALARS if quantity.key.startswith("algorithm1/")}
    # Where it is the Hessian's own trace it is not stored a second time.
    differs = epochs.trial_id.isin(epochs.trial_id[epochs.hessian_gauss_newton_trace.notna()])
    return {**due, "hessian/gauss_newton_trace": differs}
