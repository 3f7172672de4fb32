"""Changes of quantities between consecutive records of a trial: the data of Table 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.quantities import in_shown_unit, quantity
from orchestrator.analysis.record_numbers import record_numbers
from orchestrator.store.frames import Frames
from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.catalogue import BUILT_IN


@dataclass(frozen=True)
class RecordChanges:
    """Changes between consecutive measured records, and counts of the changes left out."""

    rows: pd.DataFrame
    """Columns ``trial_id``, ``epoch`` of the later record, and one per quantity; accuracies in percentage points."""
    gaps: int
    """Number of gaps in the records of the trials."""
    not_finite: int
    """Number of changes between consecutive records that have a missing or non-finite value."""

    @property
    def trials(self) -> int:
        """Number of trials with at least one usable change."""
        return int(self.rows.trial_id.nunique())


def record_changes(frames: Frames, columns: Sequence[str], first: int = 1) -> RecordChanges:
    """Computes the changes between consecutive records of each trial. Drops those that are not finite in every column.

    Consecutive records are one epoch apart, or as far apart as `record_every` of the trial says. Records at which a
    quantity is not due, by `measurement.every`, `evaluate_every` or its own `every`, are skipped.

    Args:
        frames: the tables of a sweep.
        columns: the quantities.
        first: number of the first record used; 1 excludes the jump from the untrained model.
    """
    numbered = frames.epochs.assign(number=record_numbers(frames))
    spacings = {key: _spacing(trial, columns) for key, trial in frames.sweep.by_id.items()}
    spacing = pd.Series([spacings[key] for key in numbered.trial_id], numbered.index, dtype="int64")
    used = (numbered.number >= first) & (numbered.number % spacing == 0)
    numbered["position"] = numbered.number // spacing
    kept = numbered[used].sort_values(["trial_id", "number"], kind="stable")
    values = pd.DataFrame({column: in_shown_unit(kept, column) for column in columns}, index=kept.index)
    trial, position = kept.trial_id.to_numpy(), kept.position.to_numpy()
    same_trial = trial[1:] == trial[:-1]
    consecutive = same_trial & (np.diff(position) == 1)
    with np.errstate(invalid="ignore"):
        steps = np.diff(values.to_numpy(dtype=float), axis=0)
    finite = np.isfinite(steps).all(axis=1)
    usable = consecutive & finite
    rows = pd.DataFrame(steps[usable], columns=list(columns))
    rows.insert(0, "trial_id", trial[1:][usable])
    rows.insert(1, "epoch", kept.epoch.to_numpy()[1:][usable])
    return RecordChanges(rows, int((same_trial & ~consecutive).sum()), int((consecutive & ~finite).sum()))


def _spacing(config: TrialConfig, columns: Sequence[str]) -> int:
    """The number of records from one with all these columns to the next."""
    return math.lcm(*(_interval(config, quantity(column).key) for column in columns))


def _interval(config: TrialConfig, key: str) -> int:
    topic, _, part = key.partition("/")
    if topic in ("loss", "accuracy", "r2"):
        return 1 if part == "train" else config.evaluate_every
    sources = {name for name, kind in BUILT_IN.items() if key in kind.record_keys}
    measured = [each for each in config.measurement.estimators if each.name in sources]
    return min(map(config.measurement.interval, measured), default=1)
