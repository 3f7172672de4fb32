"""Traces on fractions of the images."""

import numpy as np
import pytest

from orchestrator.analysis.figures.trace_fraction import fraction_data
from tests.analysis import planted


def test_fractions_are_compared_with_the_largest_fraction_at_the_same_epoch() -> None:
    again = np.array([[np.nan, 100.0, 80.0]])
    columns = {"hessian_trace": np.array([[1.0, 110.0, 76.0]]), "fraction-1.0/hessian_trace": again}
    columns["fraction-0.5_lanczos_products-3/hessian_trace"] = np.array([[np.nan, 105.0, np.nan]])
    data = fraction_data(planted.frames([planted.trial(0, 2)], columns))
    found = {(row.epoch, row.fraction): row.deviation for row in data.itertuples()}
    assert found == pytest.approx({(1, 0.1): 0.1, (2, 0.1): -0.05, (1, 0.5): 0.05})
