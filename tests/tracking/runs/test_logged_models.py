"""Kept checkpoints are logged models with their curvature."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from mlflow.entities import LoggedModel

from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.runs.labels import MODELS_SHOWN
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import DIGEST, IN_STEPS, T0, Shown, manifest, record, rows, sweep, train


def keep_some(storage: Storage, config: TrialConfig, last: int, ended: State | None = State.COMPLETED) -> None:
    """Commits the records up to `last` and keeps every second checkpoint."""
    train(storage, config, 0, -1, ended)
    for number in range(last + 1):
        storage.trial(config.trial_id).commit(record(number), b"state", DIGEST, "a", keep=number % 2 == 0)


def models(uri: str, trial_id: str, name: str = "toy") -> dict[str, LoggedModel]:
    shown = Shown(uri, name)
    experiment, run = shown.experiment.experiment_id, shown.trials[trial_id].info.run_id
    found = shown.client.search_logged_models([experiment], f"source_run_id = '{run}'")
    assert len({model.tags["record"] for model in found}) == len(found), "one model for each checkpoint"
    return {model.name: model for model in found}


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_kept_checkpoints_of_an_ended_trial_are_models(
    tracker: str, tmp_path: Path, uri: str, request: pytest.FixtureRequest
) -> None:
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    desired = sweep(seeds=1, epochs=3, name=f"models-{tracker}")
    storage = manifest(tmp_path / "results", desired)
    ended, running = desired.trials
    keep_some(storage, ended, 3)
    keep_some(storage, running, 1, None)
    ship(storage, desired.name, uri)
    found = models(uri, ended.trial_id, desired.name)
    assert sorted(found) == ["epoch 0", "epoch 2", "epoch 3"]
    model = found["epoch 2"]
    values = record(2).metrics()
    shown = {"hessian/lambda_max", "hessian/trace", *(key for key in values if key.startswith("accuracy/"))}
    assert {m.key: (m.value, m.step, m.timestamp) for m in model.metrics} == {
        key: (values[key], 2, T0 + 2000) for key in shown
    }
    assert {(m.dataset_name, m.dataset_digest) for m in model.metrics} == {("digits", DIGEST[:12])}
    assert (model.status, model.model_type, model.params) == ("READY", "cnn", {"optimizer.lr": "0.01"})
    assert Path(unquote(urlparse(model.tags["checkpoint"]).path)).read_bytes() == b"state"
    assert sorted(models(uri, running.trial_id, desired.name)) == ["epoch 0"], "its last checkpoint is not final"


def test_models_shipped_again_are_the_same(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=2)
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:
        keep_some(storage, config, 2)
    ship(storage, "toy", uri)
    before, shown = rows(tmp_path / "mlflow.db"), Shown(uri)
    for run in shown.trials.values():
        shown.client.delete_tag(run.info.run_id, MODELS_SHOWN)
    ship(storage, "toy", uri)
    after = rows(tmp_path / "mlflow.db")
    assert {table: found for table, found in after.items() if before[table] != found} == {}


def test_a_second_model_of_a_checkpoint_is_deleted(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=1)
    storage = manifest(tmp_path / "results", desired)
    config = desired.trials[0]
    keep_some(storage, config, 1)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    run_id = shown.trials[config.trial_id].info.run_id
    twice = shown.client.create_logged_model(shown.experiment.experiment_id, "epoch 1", run_id, {"record": "1"})
    shown.client.delete_tag(run_id, MODELS_SHOWN)
    ship(storage, "toy", uri)
    assert sorted(models(uri, config.trial_id)) == ["epoch 0", "epoch 1"]
    assert twice.name == "epoch 1"


def test_a_longer_trial_has_its_new_last_checkpoint(tmp_path: Path, uri: str) -> None:
    steps: dict[str, Any] = {**IN_STEPS, "steps": 16}
    storage = manifest(tmp_path / "results", sweep(seeds=1, **steps))
    config = sweep(seeds=1, **steps).trials[0]
    train(storage, config, 0, 2, State.COMPLETED)
    ship(storage, "toy", uri)
    assert sorted(models(uri, config.trial_id)) == ["step 16"]
    longer = sweep(seeds=1, **{**steps, "steps": 32})
    manifest(storage.root, longer)
    train(storage, longer.trials[0], 3, 4, State.COMPLETED)
    ship(storage, "toy", uri)
    assert sorted(models(uri, config.trial_id)) == ["step 32"]
