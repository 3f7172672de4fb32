"""The largest eigenvalues."""

import numpy as np

from orchestrator.analysis.figures.quantities.top_eigenvalues import (
    draw_eigenvalues,
    eigenvalues_data,
    summarise_eigenvalues,
)
from tests.analysis import planted

TRIALS = planted.two_rates(2, 2)


def test_rows_are_in_the_order_of_trials_records_and_eigenvalues() -> None:
    columns = {f"hessian_lambda_{i}": np.full((4, 3), 100.0 / i) for i in range(1, 12)}
    columns |= {f"hessian_lambda_{i}_residual": np.full((4, 3), 0.1) for i in range(1, 12)}
    columns["hessian_lambda_2_error"] = np.full((4, 3), 0.2)
    columns["hessian_lambda_11"][0, 1] = np.nan
    data = eigenvalues_data(planted.frames(TRIALS, columns))
    assert data.trial_id.unique().tolist() == [TRIALS[0].trial_id, TRIALS[2].trial_id]
    assert data.eigenvalue.tolist()[:21] == [*range(1, 12), *range(1, 11)]
    assert np.allclose(data.value, 100 / data.eigenvalue)
    assert (data.error[data.eigenvalue == 2] == 0.2).all() and data.error[data.eigenvalue != 2].isna().all()
    assert data.groupby("setting").threshold.first().to_dict() == {"lr=0.01": 200.0, "lr=0.05": 40.0}
    assert summarise_eigenvalues(data) == (
        "11 eigenvalues of 2 trials; at the last record the smallest of them is 0.09 times the largest (median); the "
        "largest residual is 1.1% of its eigenvalue."
    )
    draw_eigenvalues(data)


def test_lambda_max_alone_is_no_figure() -> None:
    columns = {"hessian_lambda_max": np.ones((4, 3)), "hessian_lambda_min": np.ones((4, 3))}
    assert eigenvalues_data(planted.frames(TRIALS, columns)).empty
