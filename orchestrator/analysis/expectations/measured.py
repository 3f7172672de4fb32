"""The statistic of an expectation for one trial."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median

import numpy as np
import pandas as pd

from orchestrator.analysis.expectations.interval import Measured
from orchestrator.analysis.quantities import quantity
from orchestrator.study.config import TrialConfig
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.expectations.selection import Crossing, QuantityCurve
from orchestrator.study.quantities.quantity import column_of

_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "median": median, "mean": fmean, "min": min, "max": max,
}  # fmt: skip
_RESIDUAL, _STANDARD_ERROR = "_residual", "_standard_error"


def measured(expectation: Expectation, config: TrialConfig, records: pd.DataFrame) -> Measured | None:
    """Returns the statistic of a trial.

    Args:
        expectation: a quantity that is a column of `records`.
        config: the trial.
        records: its rows of `Frames.epochs`, in order of time.

    Returns:
        The statistic. Infinity if the quantity never crosses a threshold. None if no selected record has the quantity.
    """
    column = column_of(expectation.quantity)
    if column not in records:
        return None
    finite = records[np.isfinite(records[column].to_numpy(dtype=float))]
    curve = QuantityCurve(*(finite[name].astype("float64").tolist() for name in ("step", "epoch", column)))
    positions = list(expectation.selection.select(curve, config.flat()))
    if not positions:
        crossing = isinstance(expectation.selection, Crossing) and curve.values
        return Measured(math.inf) if crossing else None
    if expectation.statistic in ("step", "epoch"):
        return _moment(curve, expectation.statistic, positions[0])
    if expectation.statistic in ("first", "last"):
        positions = positions[:1] if expectation.statistic == "first" else positions[-1:]
        value = curve.values[positions[0]]
    else:
        value = _STATISTICS[expectation.statistic]([curve.values[position] for position in positions])
    return Measured(value, *_errors(column, finite.iloc[positions]))


def _moment(curve: QuantityCurve, unit: str, position: int) -> Measured | None:
    """The step or epoch of a record. It is known to within the distance of two records."""
    moments = curve.steps if unit == "step" else curve.epochs
    if math.isnan(moments[position]):
        return None
    return Measured(moments[position], moments[position] - moments[position - 1] if position else 0.0)


def _errors(column: str, selected: pd.DataFrame) -> tuple[float, float]:
    """The mean residual and the mean standard error over the selected records; 0.0 if not recorded.

    The residual of a ratio is its numerator's residual times |ratio / numerator|.
    """
    error = column_of(quantity(column).error)
    if error not in selected:
        return 0.0, 0.0
    owner = error.removesuffix(_RESIDUAL).removesuffix(_STANDARD_ERROR)
    scale = (selected[column] / selected[owner]).abs() if owner in selected and owner != column else 1.0
    size = float((selected[error] * scale).mean())
    if not math.isfinite(size):
        return 0.0, 0.0
    return (size, 0.0) if error.endswith(_RESIDUAL) else (0.0, size)
