"""Changes of quantities between consecutive records of a trial: the data of Table 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.quantities import in_shown_unit
from orchestrator.analysis.record_numbers import record_numbers
from orchestrator.store.frames import Frames


@dataclass(frozen=True)
class RecordChanges:
    """Changes between consecutive records, and counts of the changes left out."""

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

    Consecutive records are one epoch apart, or as far apart as `record_every` of the trial says.

    Args:
        frames: the tables of a sweep.
        columns: the quantities.
        first: number of the first record used; 1 excludes the jump from the untrained model.
    """
    numbered = frames.epochs.assign(number=record_numbers(frames))
    kept = numbered[numbered.number >= first].sort_values(["trial_id", "number"], kind="stable")
    values = pd.DataFrame({column: in_shown_unit(kept, column) for column in columns}, index=kept.index)
    trial, number = kept.trial_id.to_numpy(), kept.number.to_numpy()
    same_trial = trial[1:] == trial[:-1]
    consecutive = same_trial & (np.diff(number) == 1)
    with np.errstate(invalid="ignore"):
        steps = np.diff(values.to_numpy(dtype=float), axis=0)
    finite = np.isfinite(steps).all(axis=1)
    used = consecutive & finite
    rows = pd.DataFrame(steps[used], columns=list(columns))
    rows.insert(0, "trial_id", trial[1:][used])
    rows.insert(1, "epoch", kept.epoch.to_numpy()[1:][used])
    return RecordChanges(rows, int((same_trial & ~consecutive).sum()), int((consecutive & ~finite).sum()))
