"""Where numbers come from, as runs show it: tags, the patch, code of one's own, attempts with their reasons."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import DIFF, OWN_CODE
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import PROVENANCE, SWEEP_PROVENANCE, Shown, rows, sweep, train


def test_the_patch_and_ones_own_code_are_artifacts_where_they_belong(
    tmp_path: Path, uri: str, say: Callable[[str], None]
) -> None:
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
    ship(storage, "toy", uri, False, say)
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
    ship(storage, "toy", uri, False, say)
    assert rows(tmp_path / "mlflow.db") == before


def test_attempts_are_shown_with_their_reasons(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep(seeds=1)
    storage = Storage(tmp_path / "results")
    storage.sweep("toy").write_manifest(desired, SWEEP_PROVENANCE)
    once, thrice = desired.trials
    train(storage, once, 0, 3, State.COMPLETED)
    train(storage, thrice, 0, 1)  # killed
    train(storage, thrice, 2, 2, State.FAILED, reason="Traceback\nOSError: http://me:pw@host is full")
    train(storage, thrice, 3, 3, State.COMPLETED, provenance=replace(PROVENANCE, host="elsewhere"))
    ship(storage, "toy", uri, False, say)
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
