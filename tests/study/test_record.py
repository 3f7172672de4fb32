"""Epoch records survive JSON without loss, and two runs are compared bit for bit."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.study.record import SCALARS, VECTORS, Record

_numbers = st.floats() | st.integers(min_value=-(10**6), max_value=10**6)


EMPTY = Record(number=0, timestamp_ms=0)
records = st.builds(
    Record,
    epoch=st.integers(min_value=0, max_value=99_999),
    timestamp_ms=st.integers(min_value=0, max_value=2**42),
    **{quantity.column: st.none() | _numbers for quantity in SCALARS},
    **{
        quantity.column: st.lists(st.floats(), max_size=5).map(tuple)
        if getattr(EMPTY, quantity.column) == ()
        else st.dictionaries(st.text(max_size=3), st.floats(), max_size=3)
        for quantity in VECTORS
    },
)


def _bits(record: Record) -> dict[str, str]:
    return {field.name: repr(getattr(record, field.name)) for field in fields(record)}


@given(records)
def test_a_record_survives_json_bit_for_bit(record: Record) -> None:
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert _bits(again) == _bits(record)
    assert record.differences(again) == {}


def test_unmeasured_values_are_left_out_of_json() -> None:
    record = Record(number=0, timestamp_ms=5)
    assert record.to_json() == {"epoch": 0, "timestamp_ms": 5}
    assert Record.from_json(record.to_json()) == record
    zero = Record(number=0, timestamp_ms=5, loss_train=0.0)
    assert zero.to_json()["loss_train"] == 0.0


def test_keys_of_a_newer_version_are_ignored() -> None:
    record = Record(number=1, timestamp_ms=5, loss_train=0.5, lanczos_history=(1.0, 2.0))
    newer = {**record.to_json(), "hessian_rank": 3.0, "spectrum": [1.0, 2.0]}
    assert Record.from_json(newer) == record


def test_every_quantity_has_a_unique_key_and_a_description() -> None:
    quantities = [*SCALARS, *VECTORS]
    assert len(quantities) == len(fields(Record)) - 7, "every field but the moment, its time, and values by key"
    assert len({quantity.key for quantity in quantities}) == len(quantities)
    assert len({quantity.column for quantity in quantities}) == len(quantities)
    assert all(q.unit and q.label and q.meaning and q.key.count("/") == 1 for q in quantities)


def test_columns_are_named_like_fields() -> None:
    names = [field.name for field in fields(Record) if field.metadata]
    assert sorted(quantity.column for quantity in (*SCALARS, *VECTORS)) == sorted(names)
    assert VECTORS[-1].key == "time/per_quantity", "mappings are last, so that tables keep the order of columns"


def test_metrics_and_vectors_use_keys() -> None:
    record = Record(
        number=1,
        timestamp_ms=5,
        loss_train=math.nan,
        hessian_trace=233.0,
        gradient_norm=0.0,
        lanczos_history=(1.0, 2.0),
    )
    metrics = record.metrics()
    assert list(metrics) == ["loss/train", "hessian/trace", "gradient/norm"]
    assert math.isnan(metrics["loss/train"])
    assert metrics["hessian/trace"] == 233.0
    assert record.vectors() == {"lanczos/history": (1.0, 2.0)}


@given(records)
def test_every_measured_value_is_in_metrics_or_vectors(record: Record) -> None:
    measured = {q.key for q in SCALARS if getattr(record, q.column) is not None}
    assert set(record.metrics()) == measured
    assert record.vectors() == {q.key: getattr(record, q.column) for q in VECTORS if getattr(record, q.column)}


RECORD = Record(number=1, timestamp_ms=5, loss_train=0.25, hessian_trace=math.nan, lanczos_history=(1.0, math.nan, 0.0))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"loss_train": math.nextafter(0.25, 1)}, "loss/train"),
        ({"loss_train": None}, "loss/train"),
        ({"hessian_trace": 0.0}, "hessian/trace"),
        ({"gradient_norm": 0.0}, "gradient/norm"),
        ({"lanczos_history": (1.0, math.nan, -0.0)}, "lanczos/history"),
        ({"lanczos_history": (1.0, math.nan)}, "lanczos/history"),
        ({"lanczos_history": (1.0, 0.0, math.nan)}, "lanczos/history"),
    ],
)
def test_a_difference_of_one_bit_is_reported(changes: dict[str, Any], key: str) -> None:
    other = replace(RECORD, **changes)
    (name,) = changes
    differences = RECORD.differences(other)
    assert list(differences) == [key]
    assert repr(differences[key]) == repr((getattr(RECORD, name), changes[name]))


def test_minus_zero_differs_from_zero() -> None:
    ours, theirs = (replace(RECORD, hessian_lambda_min=value) for value in (0.0, -0.0))
    assert list(ours.differences(theirs)) == ["hessian/lambda_min"]


def test_a_nan_equals_a_nan() -> None:
    again = replace(RECORD, hessian_trace=float("nan"), lanczos_history=(1.0, float("nan"), 0.0))
    assert RECORD.differences(again) == {}


def test_values_that_earlier_versions_did_not_record_are_no_differences() -> None:
    key = "stability/batch_sharpness_low"
    ours, theirs = RECORD.with_values({key: 1.0}), RECORD.with_values({key: 2.0})
    assert ours.differences(RECORD) == {} == RECORD.differences(ours)
    assert list(ours.differences(theirs)) == [key]


def test_times_and_usage_are_not_compared() -> None:
    timed: dict[str, Any] = {q.column: 3.5 for q in SCALARS if not q.reproducible}
    times = {"time_train_seconds", "time_evaluate_seconds", "time_measure_seconds"}
    assert timed.keys() == times | {"system_cpu_percent", "system_memory_mib", "system_gpu_memory_mib"}
    assert RECORD.differences(replace(RECORD, timestamp_ms=6, **timed)) == {}


@pytest.mark.parametrize(
    ("loss", "diverged"),
    [(0.5, False), (0.0, False), (1e300, False), (math.nan, True), (math.inf, True), (-math.inf, True), (None, True)],
)
def test_record_with_a_loss_that_is_not_finite_has_diverged(loss: float | None, diverged: bool) -> None:
    assert Record(number=1, timestamp_ms=5, loss_train=loss).diverged == diverged


def test_a_record_of_version_0_1_has_the_number_of_its_epoch() -> None:
    early = Record.from_json({"epoch": 3, "timestamp_ms": 5, "loss_train": 0.5})
    assert (early.number, early.epoch, early.step, early.steps_per_epoch) == (3, 3, None, None)
    assert early.to_json() == {"epoch": 3, "timestamp_ms": 5, "loss_train": 0.5}


def test_a_record_inside_an_epoch_survives_json() -> None:
    inside = Record(number=2, timestamp_ms=5, epoch=1.2, step=6)
    assert inside.to_json() == {"number": 2, "timestamp_ms": 5, "epoch": 1.2, "step": 6}
    assert Record.from_json(inside.to_json()) == inside
    assert inside.steps_per_epoch == 5
