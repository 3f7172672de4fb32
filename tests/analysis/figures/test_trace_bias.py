"""The bias of Algorithm 1."""

import numpy as np
import pytest

from orchestrator.analysis.figures.trace_bias import bias_data
from tests.analysis import planted


def test_deviation_is_relative_and_has_an_expected_standard_deviation() -> None:
    columns = {"hessian_trace": [[-50.0, 200, 100]], "algorithm1_trace": [[-40.0, 210, 100]]}
    columns |= {"algorithm1_trace_std": [[10.0, 20, 30]]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    data = bias_data(planted.frames([planted.trial(0, 2)], arrays))
    assert data.deviation.tolist() == pytest.approx([0.2, 0.05]), "equal numbers are the same measurement"
    assert data.expected_std.tolist() == pytest.approx([10 / 10**0.5 / 50, 20 / 10**0.5 / 200])
