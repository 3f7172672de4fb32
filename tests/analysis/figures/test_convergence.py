"""Figure 3."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analysis.figures.convergence import convergence_data
from orchestrator.store.frames import Frames
from tests.analysis import planted


def test_error_is_relative_to_lanczos_and_nan_without_lanczos(full: Frames) -> None:
    data = convergence_data(full)
    row = data.iloc[3]
    truth = full.epochs[(full.epochs.trial_id == row.trial_id) & (full.epochs.epoch == row.epoch)]
    assert row.iteration == 4
    assert row.error == pytest.approx(abs(row.quotient / truth.hessian_lambda_max.item() - 1))
    without = replace(full, epochs=full.epochs.assign(hessian_lambda_min=np.nan))
    assert convergence_data(without).error.isna().all()


def test_at_most_a_hundred_measurements_are_shown() -> None:
    many = planted.full(np.random.default_rng(0), planted.two_rates(10, 40))
    data = convergence_data(many)
    assert len(data[["trial_id", "epoch"]].drop_duplicates()) == 100
    assert data.trial_id.nunique() == 20
