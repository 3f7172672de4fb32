"""Trials grouped by their settings without the seed, and the trials that figures show as examples."""

import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from orchestrator.store.frames import Frames
from orchestrator.study.config import TrialConfig

_LONGEST = 44
_NOT_SHOWN = re.compile(r" (seed|steps|epochs|evaluate_every)=\S+| record_every=\S+ \S+")
_T = TypeVar("_T")


def setting_of_trials(frames: Frames) -> dict[str, str]:
    """Maps trial ids to the settings that vary in the sweep, without seed, length and records: ``sgd lr=0.05``."""
    return {key: _setting(frames.sweep.label(config)) or config.optimizer.name for key, config in _configs(frames)}


def optimizer_of_trials(frames: Frames) -> dict[str, str]:
    """Maps trial ids to names of optimizers. One with SAM differs from the one without."""
    return {
        key: config.optimizer.name + (" with SAM" if config.optimizer.sam else "") for key, config in _configs(frames)
    }


def example_trials(frames: Frames, measured: "pd.Series[str]", most: int) -> dict[str, str]:
    """Maps up to `most` settings, evenly spaced over the sweep, to the first of their trials that is measured."""
    found, known = setting_of_trials(frames), set(measured)
    first: dict[str, str] = {}
    for trial_id in frames.trials.trial_id:
        if trial_id in known:
            first.setdefault(found[trial_id], trial_id)
    return {setting: first[setting] for setting in evenly_spaced(list(first), most)}


def evenly_spaced(values: Sequence[_T], most: int) -> list[_T]:
    """At most `most` of these values, with the first and the last."""
    positions = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[position] for position in positions]


def short(text: str) -> str:
    """The text, cut to the width of a panel's title."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def finite_rows(frames: Frames, *columns: str) -> pd.DataFrame:
    """The records in which all these columns are finite; no rows if a column was never measured."""
    epochs = frames.epochs
    if not set(columns) <= set(epochs.columns):
        return epochs.iloc[:0].reindex(columns=[*epochs.columns, *(set(columns) - set(epochs.columns))])
    return pd.DataFrame(epochs[np.isfinite(epochs[list(columns)]).all(axis=1)])


def _configs(frames: Frames) -> list[tuple[str, TrialConfig]]:
    return list(frames.sweep.by_id.items())


def _setting(label: str) -> str:
    return _NOT_SHOWN.sub("", f" {label}").strip()
