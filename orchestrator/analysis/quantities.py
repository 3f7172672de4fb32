"""Column names, labels and display units of quantities. Only this module converts accuracies to percentages."""

import pandas as pd

from orchestrator.study.quantities.catalogue import DECLARED
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.record import SCALARS, VECTORS

LAMBDA_MAX, LAMBDA_MIN, TRACE = "hessian_lambda_max", "hessian_lambda_min", "hessian_trace"
LOSS, VALIDATION, TEST, OOD = "loss_train", "accuracy_validation", "accuracy_test", "accuracy_ood"
VALIDATION_R2 = "r2_validation"
TIMES = ("time_train_seconds", "time_evaluate_seconds", "time_measure_seconds")

_BY_COLUMN = {quantity.column: quantity for quantity in (*SCALARS, *VECTORS)}


def quantity(column: str) -> Quantity:
    """The quantity in a column. Columns of remeasured values have a prefix, as in ``fraction-0.5/hessian_trace``.

    A column that is not declared contains a quantity of the user, which has no unit.
    """
    name = column.rpartition("/")[2]
    members = (declared.member(name) for declared in DECLARED)
    own = Quantity(name, "", name, "measured by the user's own function")
    return _BY_COLUMN.get(name) or next(filter(None, members), own)


def unit(column: str) -> str:
    """The display unit of a column; empty for values without a unit or in the units of the trial's loss."""
    return {"fraction": "%", "loss": "", "R2": "", "1": ""}.get(quantity(column).unit, quantity(column).unit)


def axis_label(column: str) -> str:
    """Label with unit, such as ``test accuracy [%]``."""
    return _with_unit(quantity(column).label, unit(column))


def change_label(column: str) -> str:
    """Label of a change, such as ``change of test accuracy [points]`` in percentage points."""
    named = "points" if unit(column) == "%" else unit(column)
    return _with_unit(f"change of {quantity(column).label}", named)


def has_accuracies(epochs: pd.DataFrame) -> bool:
    """Whether any epoch has an accuracy. Trials with real targets have R2 instead."""
    return bool(epochs.filter(regex="^accuracy_").notna().any(axis=None))


def _with_unit(label: str, unit: str) -> str:
    return f"{label} [{unit}]" if unit else label


def in_shown_unit(frame: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The values of a column in its display unit; all NaN if the frame has no such column."""
    if column not in frame.columns:
        return pd.Series(float("nan"), index=frame.index, dtype="float64")
    return frame[column] * (100.0 if unit(column) == "%" else 1.0)
