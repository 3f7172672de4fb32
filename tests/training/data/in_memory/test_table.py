"""Tables: splits, standardisation, classes, and errors that name the row."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes

from orchestrator.study.parts.data_config import TableData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.in_memory.table import load_table
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.split import SPLIT_SEED
from orchestrator.training.data.task import Task
from orchestrator.training.streams import stream

ROWS = 60


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    numbers = {"a": draw.normal(3.0, 2.0, ROWS), "b": draw.integers(0, 9, ROWS), "constant": 7.0}
    return pd.DataFrame(
        {**numbers, "price": draw.normal(100.0, 30.0, ROWS), "kind": draw.choice(["x", "y", "z"], ROWS)}
    )


def load(folder: Path, content: pd.DataFrame, target: str = "price", **options: Any) -> DataSplits:
    path = folder / "table.csv"
    content.to_csv(path, index=False)
    return load_table(TableData.model_validate({"name": "table", "path": str(path), "target": target, **options}))


def test_columns_and_target_are_standardised_without_the_test_rows(tmp_path: Path) -> None:
    content = frame().drop(columns="kind")
    data = load(tmp_path, content)
    assert (len(data.test), len(data.validation), len(data.train)) == (12, 5, 43)
    assert data.task is Task.VALUES
    assert data.signature.input_shape == (3,)
    assert data.signature.outputs == 1
    seen = torch.cat([data.train.inputs, data.validation.inputs]).double()
    assert seen.mean(0).abs().max() < 1e-6
    assert torch.allclose(seen.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]).double(), atol=1e-6)
    # Every standardised row belongs to a row of the file, and so does its target.
    whole = torch.cat([seen, data.test.inputs.double()])
    targets = torch.cat([data.train.targets, data.validation.targets, data.test.targets]).double()
    for column, values in (("a", whole[:, 0]), ("price", targets[:, 0])):
        given, found = np.sort(content[column].to_numpy()), np.sort(values.numpy())
        slope, offset = np.polyfit(given, found, 1)
        assert np.allclose(slope * given + offset, found, atol=1e-5)


def test_a_column_that_is_constant_in_the_training_rows_keeps_its_scale(tmp_path: Path) -> None:
    content = frame().drop(columns="kind")
    content["constant"] = 0.1  # its computed mean is not 0.1
    test = load(tmp_path, content).test.inputs[:, 0]
    row = int((np.abs(_standard(content["a"]) - float(test[0]))).argmin())
    content.loc[row, "constant"] = 0.2
    data = load(tmp_path, content)
    assert float(data.train.inputs[:, 2].abs().max()) == 0.0
    assert float(data.test.inputs[:, 2].abs().max()) == pytest.approx(0.1)


def _standard(values: "pd.Series[float]") -> Any:
    shuffled = torch.randperm(ROWS, generator=stream(SPLIT_SEED, "table test split"))[12:]
    used = values.to_numpy()[shuffled.numpy()]
    return (values.to_numpy() - used.mean()) / used.std()


def test_a_parquet_file_is_the_same_data(tmp_path: Path) -> None:
    content = frame().drop(columns="kind")
    content.to_parquet(tmp_path / "table.parquet")
    config = {"name": "table", "path": str(tmp_path / "table.parquet"), "target": "price"}
    assert load_table(TableData.model_validate(config)).digest == load(tmp_path, content).digest


def test_a_target_of_text_is_a_class(tmp_path: Path) -> None:
    data = load(tmp_path, frame(), "kind")
    assert data.task is Task.CLASSES
    assert data.classes == ("x", "y", "z")
    assert sorted(torch.cat([data.train.targets, data.validation.targets, data.test.targets]).tolist()) == sorted(
        "xyz".index(kind) for kind in frame()["kind"]
    )


def test_a_number_can_be_a_class(tmp_path: Path) -> None:
    data = load(tmp_path, frame().drop(columns="kind"), "b", task="classes")
    assert data.classes == tuple(map(str, sorted(frame()["b"].unique())))


def test_diabetes_is_that_of_scikit_learn() -> None:
    data = load_table(TableData(name="table", dataset="diabetes"))
    raw = load_diabetes()
    assert len(data.train) + len(data.validation) + len(data.test) == len(raw.target) == 442
    assert data.signature.input_shape == (10,)


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        ({}, "cost", "has no column 'cost', expected one of 'a', 'b', 'constant', 'price': correct data"),
        ({"a": "?"}, "price", "row 4, column 'a': '\\?', expected a finite number"),
        ({"b": None}, "price", "row 4, column 'b': a missing value"),
        ({"a": 1e300}, "price", "row 4, column 'a': '1e\\+300', expected a finite number of at most 3.4e38"),
        ({"price": np.inf}, "price", "row 4, column 'price': 'inf'"),
        ({"kind": None}, "kind", "row 4, column 'kind': a missing value, expected a class"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, change: dict[str, Any], target: str, message: str) -> None:
    content = frame() if target == "kind" else frame().drop(columns="kind")
    content = content.astype(object)
    for column, value in change.items():
        content.loc[3, column] = value
    with pytest.raises(DataError, match=message):
        load(tmp_path, content, target)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,a,y\n" + "1,2,3\n" * 40, "has two columns 'a'; rename or remove one of them"),
        ("a,y,y\n" + "1,2,3\n" * 40, "has two columns 'y'"),
        ("a,y\n" + "1,2,3\n" * 40, "has more values per row than the 2 columns of its header"),
        ("a,y\n", "has no rows, only a header"),
        ("a,y\n" + "1,2\n2,2\n" * 40, "the target 'y' is 2 in all training rows"),
        ("a,y\n1,2\n2,3\n", "2 training samples are too few .* expected at least 6"),
    ],
)
def test_tables_that_cannot_be_learnt_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_table(TableData(name="table", path=str(tmp_path / "table.csv"), target="y"))


def test_dates_are_refused(tmp_path: Path) -> None:
    content = frame().drop(columns="kind").assign(day=pd.date_range("2020-01-01", periods=ROWS))
    content.to_parquet(tmp_path / "table.parquet")
    config = TableData(name="table", path=str(tmp_path / "table.parquet"), target="price")
    with pytest.raises(DataError, match="column 'day' has the type datetime64.*, expected real numbers"):
        load_table(config)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    config = TableData(name="table", path=str(tmp_path / "absent.csv"), target="y")
    with pytest.raises(DataError, match="absent.csv' cannot be read"):
        load_table(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs either dataset, or path and target"),
        ({"path": "x.csv", "target": "y", "dataset": "diabetes"}, "needs either dataset, or path and target"),
        ({"dataset": "diabetes", "target": "bmi"}, "target is 'bmi', but the target of diabetes is fixed"),
        ({"path": "x.csv"}, "path is given without target"),
        ({"path": "x.xlsx", "target": "y"}, r"expected a file that ends in .csv or .parquet"),
    ],
)
def test_incomplete_configs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableData.model_validate({"name": "table", **options})
