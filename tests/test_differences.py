"""Differences between two runs of a trial, and their reasons."""

import io
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.differences import Comparison, compare, ulps
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import PACKAGES
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.record import Record
from tests.store.stored import PROVENANCE, attempt
from tests.store.stored import config as some_config


def record(epoch: int, **changes: Any) -> Record:
    content = {
        "loss_train": 0.5,
        "hessian_trace": 100.0 + epoch,
        "lanczos_history": (1.0, 2.0),
        "trace_per_parameter": {"a": 1.0, "b": 2.0},
        "time_train_seconds": 3.0 * epoch,
    }
    return Record(**{"number": epoch, "timestamp_ms": epoch, **content, **changes})  # type: ignore[arg-type]


def stored(
    folder: Path, *records: Record, provenance: Any = PROVENANCE, data: str = "d" * 64, **environment: Any
) -> Storage:
    storage = Storage(folder)
    trial = storage.trial(some_config().trial_id)
    now = attempt(ended=State.COMPLETED, provenance=provenance, environment={"device": "cpu", **environment})
    trial.write_attempt(now)
    for each in records:
        trial.commit(each, b"", data, now.name)
    return storage


def compared(ours: Storage, theirs: Storage) -> tuple[Comparison, str]:
    trial_id = some_config().trial_id
    found = compare(ours.trial(trial_id), theirs.trial(trial_id), (ours.files, theirs.files))
    said = io.StringIO()
    Console(file=said, width=80).print(found.shown(), highlight=False, markup=False)
    return found, said.getvalue()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (1.0, 1.0, 0),
        (1.0, math.nextafter(1.0, 2.0), 1),
        (math.nextafter(0.0, -1.0), math.nextafter(0.0, 1.0), 2),
        (0.0, -0.0, 0),
        (1.0, 2.0, 2**52),
        (-1.0, math.nextafter(-1.0, -2.0), 1),
        (math.nan, 1.0, None),
        (math.inf, 1.0, None),
    ],
)
def test_units_in_the_last_place(ours: float, theirs: float, expected: int | None) -> None:
    assert ulps(ours, theirs) == expected


def test_comparison_shows_first_epoch_and_largest_difference_of_each_quantity(tmp_path: Path) -> None:
    theirs = stored(tmp_path / "theirs", *map(record, range(5)))
    ours = stored(
        tmp_path / "ours",
        record(0, time_train_seconds=9.0),
        record(1, lanczos_history=(1.0, math.nextafter(2.0, 3.0))),
        record(2, hessian_trace=102.0 * (1 + 1e-6), loss_train=math.nan),
        record(3, hessian_trace=103.0 * (1 + 1e-3), trace_per_parameter={"a": 1.0, "b": 1.5}),
        record(4, hessian_trace=104.0 * (1 + 1e-5)),
    )
    found, said = compared(ours, theirs)
    by_key = {each.key: each for each in found.keys}
    assert set(by_key) == {"lanczos/history", "hessian/trace", "loss/train", "trace/per_parameter"}
    assert (by_key["lanczos/history"].first_record, by_key["lanczos/history"].first_ulps) == (1, 1)
    trace = by_key["hessian/trace"]
    assert trace.first_record == 2
    assert trace.first_ulps == ulps(102.0 * (1 + 1e-6), 102.0)
    assert trace.absolute == pytest.approx(0.103)
    assert trace.relative == pytest.approx(1e-3)
    assert by_key["loss/train"].first_ulps is None
    assert math.isnan(by_key["loss/train"].absolute)
    assert (by_key["trace/per_parameter"].absolute, by_key["trace/per_parameter"].relative) == (0.5, 0.25)
    assert (found.differing_records, found.same) == (4, False)
    assert said.startswith("4 of 5 epochs differ, the first is epoch 1:")
    assert max(map(len, said.splitlines())) <= 80
    assert said.index("lanczos/history") < said.index("hessian/trace") < said.index("trace/per_parameter")


def test_equal_conditions_are_reported_as_equal(tmp_path: Path) -> None:
    theirs, ours = stored(tmp_path / "a", record(0)), stored(tmp_path / "b", record(0, loss_train=0.6))
    found, said = compared(ours, theirs)
    assert found.reasons == ()
    assert "are the same as in the stored run" in said


def test_identical_numbers_are_reported_without_reasons(tmp_path: Path) -> None:
    theirs, ours = stored(tmp_path / "a", record(0), threads=1), stored(tmp_path / "b", record(0), threads=2)
    found, said = compared(ours, theirs)
    assert found.same
    assert found.reasons == ()
    assert said == "identical: all 6 numbers of epochs 0 to 0, bit for bit\n"


def test_reasons_are_ranked(tmp_path: Path) -> None:
    known = {name: attachments.keep(PACKAGES, f"scipy==1.{name}\nsame==1\n") for name in ("1", "2")}
    theirs = stored(
        tmp_path / "theirs",
        record(0),
        provenance=replace(
            PROVENANCE, commit="a" * 40, processor="EPYC", packages_digest=known["1"], own_code={"nets": "1" * 64}
        ),
        data="e" * 64,
        threads=1,
        torch="2.1",
        vector_instructions="AVX2",
    )
    ours = stored(
        tmp_path / "ours",
        record(0, loss_train=0.6),
        provenance=replace(
            PROVENANCE,
            commit=f"{'b' * 40}-dirty",
            diff_digest="c" * 64,
            processor="Xeon",
            packages_digest=known["2"],
            own_code={"nets": "2" * 64},
        ),
        threads=2,
        torch="2.2",
        vector_instructions="AVX512",
    )
    found, _ = compared(ours, theirs)
    assert found.reasons == (
        f"data: here {'d' * 12}, stored {'e' * 12}",
        f"your code nets: here {'2' * 12}, stored {'1' * 12}",
        f"commit: here {'b' * 12}-dirty, stored {'a' * 12}",
        f"uncommitted changes: here {'c' * 12}, stored none",
        "threads: here 2, stored 1",
        "processor: here Xeon, stored EPYC",
        "vector instructions: here AVX512, stored AVX2",
        "torch: here 2.2, stored 2.1",
        "packages: scipy 1.1 -> 1.2 (stored -> here)",
    )


def test_conditions_not_recorded_by_older_versions_are_reported(tmp_path: Path) -> None:
    theirs = stored(tmp_path / "theirs", record(0))
    attempts = theirs.root / "trials" / some_config().trial_id / "attempts"
    (path,) = attempts.iterdir()
    old = {key: value for key, value in asdict(PROVENANCE).items() if key in "version commit command host user python"}
    content = json.loads(path.read_text())
    content["provenance"] = {**old, "processor": PROVENANCE.processor}
    path.write_text(json.dumps(content))
    new = replace(PROVENANCE, packages_digest="f" * 64, platform="Linux")
    found, _ = compared(stored(tmp_path / "ours", record(0, loss_train=0.6), provenance=new), theirs)
    assert f"packages: here {'f' * 12}, not recorded when it was stored" in found.reasons
    assert "platform: here Linux, not recorded when it was stored" in found.reasons
