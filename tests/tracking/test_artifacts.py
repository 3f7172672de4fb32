"""The files that go with a run can be read by anything that reads JSON."""

import json
import math
from typing import NoReturn

from orchestrator.store.frames import parsed_samples, sample_columns
from orchestrator.study.record import EpochRecord
from orchestrator.tracking.artifacts import curvature_json

INFINITE = EpochRecord(
    epoch=3,
    timestamp_ms=1000,
    loss_train=math.nan,
    lanczos_history=(0.5, math.nan, math.inf),
    trace_per_parameter={"0.weight": -math.inf, "0.bias": 1.5},
)


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def test_samples_that_are_no_finite_numbers_are_strict_json_and_come_back() -> None:
    content = curvature_json([INFINITE])
    (row,) = json.loads(content, parse_constant=refuse)
    assert row["lanczos/history"] == [0.5, "NaN", "Infinity"]
    assert repr(parsed_samples(content)) == repr({3: sample_columns(INFINITE.vectors())})


def test_what_was_shipped_before_is_read_too() -> None:
    content = '[{"epoch": 3, "lanczos/history": [0.5, NaN, Infinity]}]'
    assert repr(parsed_samples(content)) == repr({3: {"lanczos_history": (0.5, math.nan, math.inf)}})
