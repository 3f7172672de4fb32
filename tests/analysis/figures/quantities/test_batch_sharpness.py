"""Batch sharpness beside lambda_max."""

import numpy as np

from orchestrator.analysis.figures.quantities.batch_sharpness import batch_data, draw_batch, summarise_batch
from tests.analysis import planted

OPTIMIZERS = ({"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": 0.01})
TRIALS = [planted.trial(seed, 3, optimizer=optimizer) for optimizer in OPTIMIZERS for seed in range(2)]


def test_rows_have_the_interval_lambda_max_and_the_threshold_of_sgd() -> None:
    batch = np.full((4, 4), 15.0)
    batch[:, 2] = np.nan
    columns = {
        "stability_batch_sharpness": batch,
        "stability_batch_sharpness_standard_error": np.full((4, 4), 0.5),
        "stability_batch_sharpness_low": np.full((4, 4), 14.5),
        "stability_batch_sharpness_high": np.full((4, 4), 17.0),
        "hessian_lambda_max": np.full((4, 4), 10.0),
    }
    data = batch_data(planted.frames(TRIALS, columns))
    assert data.trial_id.unique().tolist() == [TRIALS[0].trial_id, TRIALS[2].trial_id]
    assert data.epoch.tolist() == [0, 1, 3] * 2
    assert data.threshold.tolist()[:3] == [20.0] * 3 and data.threshold[3:].isna().all()
    assert (set(data.low), set(data.high)) == ({14.5}, {17.0})
    assert summarise_batch(data) == (
        "2 trials, at the last record: batch sharpness / lambda_max 1.50, batch sharpness / threshold 0.75."
    )
    draw_batch(data)


def test_lambda_max_may_be_missing() -> None:
    columns = {
        "stability_batch_sharpness": np.ones((4, 4)),
        "stability_batch_sharpness_standard_error": np.ones((4, 4)),
    }
    data = batch_data(planted.frames(TRIALS[2:], {name: values[2:] for name, values in columns.items()}))
    assert summarise_batch(data) == "1 trial."
    assert (set(data.low), set(data.high)) == ({-1.0}, {3.0}), "two standard errors, as in earlier versions"
    draw_batch(data)


def test_a_sweep_without_the_quantity_has_no_figure() -> None:
    assert batch_data(planted.frames(TRIALS, {"hessian_lambda_max": np.ones((4, 4))})).empty
