"""Changes of quantities between consecutive epochs of a trial: the data of Table 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.quantities import in_shown_unit


@dataclass(frozen=True)
class EpochChanges:
    """Changes between consecutive epochs, and counts of the changes left out."""

    rows: pd.DataFrame
    """Columns ``trial_id``, ``epoch`` (the later one) and one per quantity. Accuracies are in percentage points."""
    gaps: int
    """Number of gaps in the epochs of the trials."""
    not_finite: int
    """Number of changes between consecutive epochs that have a missing or non-finite value."""

    @property
    def trials(self) -> int:
        """Number of trials with at least one usable change."""
        return int(self.rows.trial_id.nunique())


def epoch_changes(epochs: pd.DataFrame, columns: Sequence[str], from_epoch: int = 1) -> EpochChanges:
    """Computes the changes between consecutive epochs of each trial. Drops those that are not finite in every column.

    Args:
        epochs: a frame of epochs.
        columns: the quantities.
        from_epoch: the first epoch used; 1 excludes the jump from the untrained model.
    """
    kept = epochs[epochs.epoch >= from_epoch].sort_values(["trial_id", "epoch"], kind="stable")
    values = pd.DataFrame({column: in_shown_unit(kept, column) for column in columns}, index=kept.index)
    trial, epoch = kept.trial_id.to_numpy(), kept.epoch.to_numpy()
    same_trial = trial[1:] == trial[:-1]
    consecutive = same_trial & (np.diff(epoch) == 1)
    with np.errstate(invalid="ignore"):
        steps = np.diff(values.to_numpy(dtype=float), axis=0)
    finite = np.isfinite(steps).all(axis=1)
    used = consecutive & finite
    rows = pd.DataFrame(steps[used], columns=list(columns))
    rows.insert(0, "trial_id", trial[1:][used])
    rows.insert(1, "epoch", epoch[1:][used])
    return EpochChanges(rows, int((same_trial & ~consecutive).sum()), int((consecutive & ~finite).sum()))
