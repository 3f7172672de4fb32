"""Tables: rows of numbers with a target, from a CSV or Parquet file or from scikit-learn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.study.parts.data_config import TableData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory.split_in_memory import check_file_fits_memory, digest_of, split_in_memory
from orchestrator.training.data.in_memory.stored_splits import read_once
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.split import SPLIT_SEED
from orchestrator.training.data.task import Task
from orchestrator.training.streams import stream

if TYPE_CHECKING:
    import pandas as pd

_TEST_FRACTION = 0.2
_COPIES = 4
"""Memory while reading, in multiples of the file: text of a CSV file, float64 columns, and float32 samples."""


def load_table(config: TableData) -> DataSplits:
    """Returns a table, with a random fifth of its rows as the test set. A file is read once and then mapped.

    Columns and real targets are standardised over the rows that are not test rows.

    Raises:
        DataError: if the file is missing or not a table, has no target column, or a value is missing, infinite or not
            a number. The message names row (the first one is 1) and column.
    """
    if config.path is None:
        return _read_table(config)
    settings = {"table": [config.target, config.task]}
    try:
        return read_once(Path(config.path), settings, lambda: _read_table(config))
    except OSError as error:
        raise _unreadable(config, error) from None


def _read_table(config: TableData) -> DataSplits:
    frame, target = _read(config)
    if len(frame) == 0:
        raise DataError(f"{_place(config)} has no rows, only a header; add rows")
    columns = [name for name in frame.columns if name != target]
    if not columns:
        raise DataError(f"{_place(config)} has no column but the target {target!r}, expected at least one input column")
    inputs = torch.stack([_numbers(frame[name], config) for name in columns], dim=1)
    classes = _class_names(frame[target], config)
    targets = _numbered(frame[target], classes) if classes else _numbers(frame[target], config)[:, None]
    digest = digest_of(inputs, targets)
    shuffled = torch.randperm(len(frame), generator=stream(SPLIT_SEED, "table test split"))
    tested = round(_TEST_FRACTION * len(frame))
    test, train = shuffled[:tested], shuffled[tested:]
    inputs = _standardised(inputs, train)
    if not classes:
        if bool((targets[train] == targets[train[0]]).all()):
            raise DataError(
                f"{_place(config)}: the target {target!r} is {float(targets[train[0]]):g} in all training rows, "
                "expected different values; name another column"
            )
        targets = _standardised(targets, train)
    rows = Samples(inputs, targets)
    task = Task.CLASSES if classes else Task.VALUES
    outputs = None if classes else 1
    return split_in_memory(rows.select(train), rows.select(test), task, digest, classes=classes, outputs=outputs)


def _read(config: TableData) -> "tuple[pd.DataFrame, str]":
    """Returns the table and the name of its target column."""
    if config.path is None:
        return _scikit_learn_table(config)
    import pandas as pd

    path = Path(config.path)
    try:
        check_file_fits_memory(path, _COPIES)
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, config)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(config, error) from None
    target = config.target or ""
    if target not in frame.columns:
        columns = ", ".join(map(repr, frame.columns))
        raise DataError(f"{_place(config)} has no column {target!r}, expected one of {columns}: correct data.target")
    return frame, target


def _unreadable(config: TableData, error: Exception) -> DataError:
    return DataError(f"the table {config.path!r} cannot be read ({error}); check the path and the format")


def _read_csv(path: Path, config: TableData) -> "pd.DataFrame":
    import pandas as pd

    # pandas renames a repeated column, so the second target column would become an input.
    header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0]
    if len(repeated := header[header.duplicated()].dropna()):
        raise DataError(f"{_place(config)} has two columns {repeated.iloc[0]!r}; rename or remove one of them")
    frame = pd.read_csv(path)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the values before the named columns for labels
        raise DataError(
            f"{_place(config)} has more values per row than the {len(frame.columns)} columns of its header; name every "
            "column"
        )
    return frame


def _scikit_learn_table(config: TableData) -> "tuple[pd.DataFrame, str]":
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise DataError(f"the {config.dataset} data needs scikit-learn: pip install scikit-learn") from None
    if config.dataset == "diabetes":
        return datasets.load_diabetes(as_frame=True).frame, "target"
    try:
        found: Any = datasets.fetch_california_housing(as_frame=True)
    except OSError as error:
        raise DataError(
            f"california_housing cannot be downloaded ({error}); run it with network access, or write the table "
            "to a file and give its path"
        ) from None
    return found.frame, found.target_names[0]


def _numbers(column: "pd.Series[Any]", config: TableData) -> Tensor:
    import pandas as pd

    if column.dtype.kind in "mMc":
        raise DataError(
            f"{_place(config)}: column {column.name!r} has the type {column.dtype}, expected real numbers; convert or "
            "drop it"
        )
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    # The deviation of larger numbers would overflow.
    if len(bad := np.flatnonzero(~(np.abs(numbers) <= np.finfo(np.float32).max))):
        expected = "a finite number of at most 3.4e38; correct or drop the row, or encode text as numbers"
        raise _unfit(column, int(bad[0]), expected, config)
    return torch.tensor(numbers)


def _unfit(column: "pd.Series[Any]", row: int, expected: str, config: TableData) -> DataError:
    import pandas as pd

    value = column.iloc[row]
    found = "a missing value" if np.ndim(value) == 0 and pd.isna(value) else f"'{value}'"
    return DataError(f"{_place(config)}, row {row + 1}, column {column.name!r}: {found}, expected {expected}")


def _class_names(column: "pd.Series[Any]", config: TableData) -> tuple[str, ...]:
    """Returns the classes of a target in alphabetical or numerical order; nothing if it is a real number."""
    from pandas.api.types import is_numeric_dtype

    if config.task == "values" or (config.task is None and is_numeric_dtype(column)):
        return ()
    if len(missing := np.flatnonzero(column.isna())):
        raise _unfit(column, int(missing[0]), "a class; complete or drop the row", config)
    if len(names := tuple(str(value) for value in sorted(column.unique()))) < 2:
        raise DataError(f"{_place(config)}: the target has {len(names)} class, expected at least 2")
    return names


def _numbered(column: "pd.Series[Any]", classes: tuple[str, ...]) -> Tensor:
    return torch.tensor([classes.index(str(value)) for value in column])


def _standardised(values: Tensor, rows: Tensor) -> Tensor:
    """Returns values [n, columns] in float32, with mean 0 and deviation 1 over some rows. Constants become 0."""
    used = values[rows]
    # The computed mean of equal values may differ from them in the last digit.
    constant = (used == used[0]).all(0)
    mean, std = torch.where(constant, used[0], used.mean(0)), torch.where(constant, 1.0, used.std(0, correction=0))
    return ((values - mean) / std).float()


def _place(config: TableData) -> str:
    return f"table {config.path or config.dataset!r}"
