"""Compares Figure 2 with `required_probes`."""

import numpy as np
import pytest

from estimators import required_probes
from orchestrator.analysis.figures.probes import CONDITIONS, probes_data
from orchestrator.store.frames import Frames


def test_probes_match_required_probes(full: Frames) -> None:
    data = probes_data(full)
    first = full.epochs[full.epochs.trial_id == full.trials.trial_id[0]]
    for (condition, (epsilon, delta)), formula in ((c, f) for c in CONDITIONS.items() for f in (True, False)):
        needed = [
            required_probes(mean, std, epsilon, 1.0, delta, published=formula)
            for mean, std in zip(first.algorithm1_trace, first.algorithm1_trace_std, strict=True)
        ]
        name = "published" if formula else "corrected"
        row = data[(data.trial_id == first.trial_id.iloc[0]) & (data.condition == condition) & (data.formula == name)]
        assert row["mean"].item() == pytest.approx(np.mean(needed))
        assert row["median"].item() == pytest.approx(np.median(needed))
        assert row.largest.item() == pytest.approx(max(needed))
        assert row.epochs.item() == 21
