"""Labels and units of columns, as `EpochRecord` has them. Accuracies become percentages here, and nowhere before."""

import pandas as pd

from orchestrator.study.record import SCALARS, VECTORS, Quantity

_BY_COLUMN = {quantity.column: quantity for quantity in (*SCALARS, *VECTORS)}


def quantity(column: str) -> Quantity:
    """What a column holds; a column of what was measured again holds what its last part says."""
    return _BY_COLUMN[column.rpartition("/")[2]]


def unit(column: str) -> str:
    """The unit in which the column is shown."""
    return "%" if quantity(column).unit == "fraction" else quantity(column).unit


def axis_label(column: str) -> str:
    """``training loss [nats]``."""
    return f"{quantity(column).label} [{unit(column)}]"


def change_label(column: str) -> str:
    """``change of test accuracy [points]``; points are percentage points."""
    named = "points" if unit(column) == "%" else unit(column)
    return f"change of {quantity(column).label} [{named}]"


def shown(frame: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The column's values in its shown unit; NaN everywhere where the frame has no such column."""
    if column not in frame.columns:
        return pd.Series(float("nan"), index=frame.index, dtype="float64")
    return frame[column] * (100.0 if unit(column) == "%" else 1.0)
