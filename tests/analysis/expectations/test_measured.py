"""Statistics of planted curves."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.expectations.interval import Measured
from orchestrator.analysis.expectations.measured import measured
from orchestrator.study.expectations.expectation import Expectation
from tests.analysis.planted import trial

STEPS = np.arange(0, 100, 10)
RECORDS = pd.DataFrame(
    {
        "step": pd.array(STEPS, dtype="Int64"),
        "epoch": STEPS / 10,
        "hessian_lambda_max": [1.0, 2.0, np.nan, 4.0, 8.0, 7.0, np.inf, 5.0, 6.0, 5.5],
        "hessian_lambda_max_residual": 0.5,
        "hessian_trace": 10.0,
        "hessian_trace_standard_error": [np.nan] * 9 + [2.0],
        "stability_sharpness": 50.0,
        "stability_sharpness_residual": 5.0,
        "stability_ratio": 2.0,
    }
)


def found(quantity: str = "hessian/lambda_max", **content: Any) -> Measured | None:
    expectation = Expectation.model_validate({"quantity": quantity, "at_most": 1, **content})
    return measured(expectation, trial(0, 9), RECORDS)


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("median", 5.75), ("mean", 5.875), ("min", 5.0), ("max", 7.0), ("first", 7.0), ("last", 5.5)],
)
def test_statistics_skip_records_without_a_finite_value(statistic: str, value: float) -> None:
    assert found(over="last half", statistic=statistic) == Measured(value, bound=0.5)


def test_the_peak_and_its_moment() -> None:
    assert found(over="peak") == Measured(8.0, bound=0.5)
    assert found(over="peak", statistic="step") == Measured(40.0, bound=10.0)
    assert found(over="peak", statistic="epoch") == Measured(4.0, bound=1.0)


def test_a_crossing_is_known_to_within_two_records() -> None:
    assert found(over="first crossing of 3", statistic="step") == Measured(30.0, bound=20.0)


def test_a_threshold_that_is_never_crossed_is_crossed_at_infinity() -> None:
    assert found(over="first crossing of 9", statistic="step") == Measured(math.inf)


def test_errors_of_the_measurement() -> None:
    assert found("hessian/trace") == Measured(10.0, standard_error=2.0)
    assert found("stability/ratio") == Measured(2.0, bound=0.2)


def test_nothing_is_measured_without_records_or_steps() -> None:
    assert found("loss/train") is None
    assert found(over="step > 500") is None
    expectation = Expectation.model_validate(
        {"quantity": "hessian/lambda_max", "at_most": 1, "over": "peak", "statistic": "step"}
    )
    without = RECORDS.assign(step=pd.array([pd.NA] * 10, dtype="Int64"))
    assert measured(expectation, trial(0, 9), without) is None
