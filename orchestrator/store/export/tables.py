"""Writes the tables of a sweep as Parquet or CSV."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from orchestrator.store.frames import Frames

TableFormat = Literal["parquet", "csv"]


def write_tables(frames: Frames, folder: Path, kind: TableFormat = "parquet") -> list[Path]:
    """Writes the tables ``epochs``, ``trials`` and ``samples`` into a folder. Returns the paths.

    CSV has all digits of a number. NaN and missing values are empty, and vectors are JSON lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {name: getattr(frames, name) for name in ("epochs", "trials", "samples")}
    files = {name: folder / f"{name}.{kind}" for name in tables}
    for name, table in tables.items():
        if kind == "parquet":
            table.to_parquet(files[name], index=False)
        else:
            _as_text(table).to_csv(files[name], index=False)
    return list(files.values())


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with its vectors as JSON."""
    text: pd.DataFrame = table.apply(lambda column: column.map(_json) if column.dtype == object else column)
    return text


def _json(value: Any) -> Any:
    return json.dumps(list(value)) if isinstance(value, list | np.ndarray) else value
