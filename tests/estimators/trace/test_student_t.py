"""Student's quantiles against SciPy."""

import pytest
from scipy import stats

from estimators.trace.student_t import student_quantile


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3, 9, 30.5, 1000, 10_000])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9999])
def test_quantiles_equal_those_of_scipy(probability: float, degrees: float) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-15)
