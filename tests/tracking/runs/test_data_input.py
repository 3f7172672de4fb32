"""The data of a trial is an input of its run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.entities import Dataset
from mlflow.types.schema import Schema

from orchestrator.store.trial_status import State
from orchestrator.tracking.runs.data_input import data_set
from orchestrator.tracking.shipper import ship
from orchestrator.tracking.sync import SweepSync
from tests.tracking.stored import DIGEST, Shown, manifest, rows, sweep, train, trained

DIGITS = {
    "train_samples": 1294,
    "validation_samples": 144,
    "test_samples": 359,
    "classes": 10,
    "inputs": {"shape": [1, 8, 8], "dtype": "uint8"},
    "targets": {"shape": [], "dtype": "int64"},
}


def inputs(uri: str, trial_id: str, name: str = "toy") -> list[Dataset]:
    return [found.dataset for found in Shown(uri, name).trials[trial_id].inputs.dataset_inputs]


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_a_run_names_its_data_once(tracker: str, tmp_path: Path, uri: str, request: pytest.FixtureRequest) -> None:
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    desired = sweep(seeds=1, epochs=2, name=f"data-{tracker}")
    storage = manifest(tmp_path / "results", desired)
    first, second = desired.trials
    train(storage, first, 0, 2, State.COMPLETED, data=DIGITS)
    sync = SweepSync(storage, desired.name, uri, follow=False)
    sync.sync_once()
    sync.reset()
    sync.sync_once()
    [data] = inputs(uri, first.trial_id, desired.name)
    assert inputs(uri, second.trial_id, desired.name) == []
    assert (data.name, data.digest) == ("digits", DIGEST[:12])
    assert json.loads(data.profile) == {key: value for key, value in DIGITS.items() if "samples" in key} | {
        "classes": 10
    }
    features = json.loads(json.loads(data.schema)["mlflow_tensorspec"]["features"])
    assert Schema.from_json(json.dumps(features)).inputs[0].shape == (-1, 1, 8, 8)
    source = get_dataset_source_from_json(data.source, data.source_type)
    assert source.to_dict()["tags"]["data.normalise"] == "channel"


def test_a_request_that_is_sent_again_adds_nothing(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=1)
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    sync = SweepSync(storage, "toy", uri, follow=False)
    sync.sync_once()
    assert sync.runs is not None
    before = rows(tmp_path / "mlflow.db")
    for run in sync.runs.trials.values():
        run._data.clear()
    sync._due = set(desired.by_id)
    sync.sync_once()
    assert all(run._data == {DIGEST[:12]} for run in sync.runs.trials.values()), "the requests were sent again"
    assert rows(tmp_path / "mlflow.db") == before


def test_attempts_of_earlier_versions_have_no_schema(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=1)
    ship(trained(tmp_path / "results", desired), "toy", uri)
    [data] = inputs(uri, desired.trials[0].trial_id)
    assert (data.name, data.schema, data.profile) == ("digits", None, None)


def test_settings_that_vary_distinguish_data_with_one_digest() -> None:
    small, large = (sweep(seeds=1, data={"name": "digits", "train_subset": size}).trials[0] for size in (100, 500))
    both = replace(sweep(), trials=(small, large))
    names = [data_set(both, config, DIGEST, {}).name for config in both.trials]
    assert names == ["digits train_subset=100", "digits train_subset=500"]
