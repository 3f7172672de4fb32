"""How quantities change from one epoch of a trial to the next: what Table 1 is computed on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.quantities import shown


@dataclass(frozen=True)
class Changes:
    """Changes between consecutive epochs, and how many there were that cannot be used."""

    rows: pd.DataFrame
    """``trial_id``, ``epoch`` (the later one) and a column for each quantity, in percentage points or its own unit."""
    gaps: int
    """Neighbouring rows of a trial whose epochs are not consecutive."""
    not_finite: int
    """Consecutive epochs with a value that is missing or not finite."""

    @property
    def trials(self) -> int:
        """From how many trials they are."""
        return int(self.rows.trial_id.nunique())


def changes(epochs: pd.DataFrame, columns: Sequence[str], from_epoch: int = 1) -> Changes:
    """The changes within trials, from `from_epoch` on: 1 leaves the jump from the untrained model out.

    Args:
        epochs: a frame of epochs.
        columns: which quantities.
        from_epoch: the first epoch that counts.
    """
    kept = epochs[epochs.epoch >= from_epoch].sort_values(["trial_id", "epoch"], kind="stable")
    values = pd.DataFrame({column: shown(kept, column) for column in columns}, index=kept.index)
    trial = kept.trial_id.to_numpy()
    epoch = kept.epoch.to_numpy()
    same = trial[1:] == trial[:-1]
    consecutive = same & (np.diff(epoch) == 1)
    with np.errstate(invalid="ignore"):
        steps = np.diff(values.to_numpy(dtype=float), axis=0)
    finite = np.isfinite(steps).all(axis=1)
    used = consecutive & finite
    rows = pd.DataFrame(steps[used], columns=list(columns))
    rows.insert(0, "trial_id", trial[1:][used])
    rows.insert(1, "epoch", epoch[1:][used])
    return Changes(rows, int((same & ~consecutive).sum()), int((consecutive & ~finite).sum()))
