"""Files attached to runs: strict JSON, provenance, attempts."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from orchestrator.store.frames import parsed_samples, sample_columns
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import DIFF, OWN_CODE
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.record import Record
from orchestrator.tracking.runs.artifacts import curvature_json
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import (
    PROVENANCE,
    SWEEP_PROVENANCE,
    Shown,
    rows,
    sweep,
    train,
)

INFINITE = Record(
    number=3,
    timestamp_ms=1000,
    loss_train=math.nan,
    lanczos_history=(0.5, math.nan, math.inf),
    trace_per_parameter={"0.weight": -math.inf, "0.bias": 1.5},
)


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def test_non_finite_samples_are_strict_json() -> None:
    content = curvature_json([INFINITE])
    (row,) = json.loads(content, parse_constant=refuse)
    assert row["lanczos/history"] == [0.5, "NaN", "Infinity"]
    assert repr(parsed_samples(content)) == repr({3: sample_columns(INFINITE.vectors())})


def test_samples_of_earlier_versions_are_read() -> None:
    content = '[{"epoch": 3, "lanczos/history": [0.5, NaN, Infinity]}]'
    assert repr(parsed_samples(content)) == repr({3: {"lanczos_history": (0.5, math.nan, math.inf)}})


def test_patch_and_user_code_are_artifacts(tmp_path: Path, uri: str) -> None:
    patch, other = "+ of the driver\n", "+ of another worker\n"
    code = "class Net: ...\n"
    driver_diff, worker_diff = attachments.keep(DIFF, patch), attachments.keep(DIFF, other)
    own = attachments.keep(OWN_CODE, code)
    assert own
    desired = sweep(seeds=1)
    storage = Storage(tmp_path / "results")
    storage.sweep("toy").write_manifest(desired, replace(SWEEP_PROVENANCE, diff_digest=driver_diff))
    alike, apart = desired.trials
    train(storage, alike, 0, 3, State.COMPLETED, provenance=replace(PROVENANCE, diff_digest=driver_diff))
    made = replace(PROVENANCE, diff_digest=worker_diff, own_code={"my.nets": own}, platform="Linux", python="3.12")
    train(storage, apart, 0, 3, State.COMPLETED, provenance=made)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    assert shown.artifact(shown.sweep_run, "uncommitted.patch", tmp_path) == patch
    run = shown.trials[apart.trial_id]
    assert shown.artifact(run, "uncommitted.patch", tmp_path) == other
    assert shown.artifact(run, "own_code/my/nets.py", tmp_path) == code
    names = {each.path for each in shown.client.list_artifacts(shown.trials[alike.trial_id].info.run_id)}
    assert "uncommitted.patch" not in names, "the sweep's run has it"
    assert shown.trials[alike.trial_id].data.tags["uncommitted"] == driver_diff[:12]  # type: ignore[index]
    expected = {
        "uncommitted": worker_diff[:12],  # type: ignore[index]
        "own_code.my.nets": own[:12],
        "platform": "Linux",
        "python": "3.12",
    }
    assert {key: run.data.tags.get(key) for key in expected} == expected
    before = rows(tmp_path / "mlflow.db")
    ship(storage, "toy", uri)
    assert rows(tmp_path / "mlflow.db") == before


def test_attempts_are_shown_with_their_reasons(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = Storage(tmp_path / "results")
    storage.sweep("toy").write_manifest(desired, SWEEP_PROVENANCE)
    once, thrice = desired.trials
    train(storage, once, 0, 3, State.COMPLETED)
    train(storage, thrice, 0, 1)  # killed
    train(storage, thrice, 2, 2, State.FAILED, reason="Traceback\nOSError: http://me:pw@host is full")
    train(storage, thrice, 3, 3, State.COMPLETED, provenance=replace(PROVENANCE, host="elsewhere"))
    ship(storage, "toy", uri)
    shown = Shown(uri)
    assert "attempts" not in shown.trials[once.trial_id].data.tags
    run = shown.trials[thrice.trial_id]
    assert run.data.tags["attempts"] == "3"
    found = json.loads(shown.artifact(run, "attempts.json", tmp_path))
    assert [(each["ended"], each["first_epoch"], each["host"]) for each in found] == [
        (None, 0, "cluster"),
        ("failed", 0, "cluster"),
        ("completed", 0, "elsewhere"),
    ]
    assert found[1]["reason"] == "Traceback\nOSError: http://***@host is full"
    assert {each["device"] for each in found} == {"cpu"}
