"""Curvature by layer."""

import numpy as np
import pytest

from orchestrator.analysis.figures.quantities.layer_sharpness import (
    draw_sharpness,
    sharpness_data,
    summarise_sharpness,
)
from tests.analysis import planted

TRIALS = planted.two_rates(2, 2)
SCALES = np.array([1.0, 2.0, 3.0, 10.0])[:, None]


def _planted(traces: bool = True) -> dict[str, np.ndarray]:
    columns = {}
    for layer, value in (("10", 1.0), ("2", 4.0), ("2_lambda_max", -1.0)):
        columns[f"layers_{layer}_lambda_max"] = np.full((4, 3), value) * SCALES
        columns[f"layers_{layer}_lambda_max_residual"] = np.full((4, 3), 0.1)
        if traces:
            columns[f"layers_{layer}_trace"] = np.full((4, 3), 2 * abs(value)) * SCALES
    return columns


def test_sharpness_is_a_median_and_shares_sum_to_one() -> None:
    data = sharpness_data(planted.frames(TRIALS, _planted()))
    last = data[data.epoch == 2].set_index("layer")
    assert list(last.index) == ["2", "2_lambda_max", "10"], "numbers are sorted by value"
    assert last.lambda_max.to_dict() == {"2": 10.0, "2_lambda_max": -2.5, "10": 2.5}
    assert last.trace["2"] == pytest.approx(8 * SCALES.mean())
    assert last.trace_share.to_dict() == pytest.approx({"2": 4 / 6, "2_lambda_max": 1 / 6, "10": 1 / 6})
    assert summarise_sharpness(data) == (
        "At the last epoch, cnn: 2 has the largest lambda_max, 10 and 67% of the trace."
    )
    drawn = draw_sharpness(data)
    assert [axes.get_title() for axes in drawn.axes[:2]] == [
        r"cnn: $\lambda_{\max}$ of the layer's block",
        "cnn: share of the trace [%]",
    ]


def test_layers_without_traces_have_one_map() -> None:
    data = sharpness_data(planted.frames(TRIALS, _planted(traces=False)))
    assert data.trace_share.isna().all()
    assert len(draw_sharpness(data).axes) == 2, "the map and its colour bar"


def test_layers_whose_eigenvalues_are_not_positive_are_drawn_blank() -> None:
    columns = {name: -np.abs(values) for name, values in _planted().items()}
    draw_sharpness(sharpness_data(planted.frames(TRIALS, columns)))


def test_a_sweep_without_layers_has_no_figure() -> None:
    assert sharpness_data(planted.frames(TRIALS, {"hessian_trace": np.ones((4, 3))})).empty
