"""Params and tags of runs."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.frames import read_frames
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.tracking.read_back import frames_from_mlflow
from orchestrator.tracking.runs.labels import param_name
from orchestrator.tracking.runs.run_names import description, trial_description
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import DIGEST, Shown, assert_shows, sweep, trained


def test_a_run_shows_the_trial_and_its_provenance(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    for trial_id, config in desired.by_id.items():
        run = shown.trials[trial_id]
        changeable = {"epochs": "3"}
        assert set(run.data.params) | {*changeable, "steps"} == set(config.flat())
        assert run.data.params["optimizer.lr"] == str(config.optimizer.lr)
        assert run.data.params["measurement.estimators"] == "lanczos, algorithm1"
        expected = {
            "trial_id": trial_id,
            "sweep": "toy",
            "kind": "trial",
            "outcome": "completed",
            "data_digest": DIGEST,
            "mlflow.source.git.commit": "abc123",
            "mlflow.source.name": "hessian-dynamics run toy",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": "me",
            "host": "cluster",
            "device": "cpu",
            "threads": "2",
            **changeable,
        }
        assert {key: run.data.tags.get(key) for key in expected} == expected
        assert run.data.tags["mlflow.note.content"] == trial_description(desired, config)
        assert run.info.run_name == f"lr {config.optimizer.lr} s{config.seed}"
        assert "mlflow.parentRunId" not in run.data.tags
    assert shown.sweep_run.info.run_name == "toy"
    assert shown.sweep_run.data.tags["mlflow.note.content"] == description(desired)
    assert shown.sweep_run.data.tags["host"] == "driver-host"
    assert shown.sweep_run.data.metrics == {}
    assert shown.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert shown.experiment.tags["mlflow.note.content"] == description(desired)
    assert shown.sweep_run.info.start_time < min(run.info.start_time for run in shown.trials.values())


ODD = [
    "a:b", "a?b", "a%b", "größe", "a b", "a//b", "../a", "/a", ".", "", "a\nb", "a-x3F-b", "-x", "a-x3F", "a-x3F?",
    "-?", "dim_x1", "l" * 300, "l" * 299 + "m", "?" * 100,
]  # fmt: skip


def with_options(*options: dict[str, object]) -> Sweep:
    """Returns a sweep over a user-defined network."""
    base = sweep().trials[0].model_dump(exclude={"model"})
    models = [{"name": "nets:Net", **each} for each in options]
    trials = tuple(TrialConfig.model_validate({**base, "model": model}) for model in models)
    return Sweep("toy", "", trials, Resources())


def test_any_option_of_a_network_is_a_param(tmp_path: Path, uri: str) -> None:
    desired = with_options({name: number for number, name in enumerate(ODD)})
    storage = trained(tmp_path / "results", desired)
    assert ship(storage, "toy", uri).complete
    (run,) = assert_shows(uri, storage, desired).trials.values()
    assert run.info.status == "FINISHED"
    shown = {param_name(f"model.{name}"): str(number) for number, name in enumerate(ODD)}
    assert len(shown) == len(ODD)
    assert shown.items() <= run.data.params.items()
    ours, theirs = read_frames(storage, "toy"), frames_from_mlflow("toy", uri)
    pd.testing.assert_frame_equal(ours.trials, theirs.trials)
    assert {f"model.{name}" for name in ODD} <= set(theirs.trials)


def test_more_options_than_a_request_may_hold_are_params(tmp_path: Path, uri: str) -> None:
    desired = with_options({f"option{number}": number for number in range(230)})
    storage = trained(tmp_path / "results", desired)
    assert ship(storage, "toy", uri).complete
    (run,) = assert_shows(uri, storage, desired).trials.values()
    assert run.data.params["model.option229"] == "229"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("optimizer.lr", "optimizer.lr"),
        ("model.dim_x1", "model.dim_x1"),
        ("model.a:b größe", "model.a-x3A-b größe"),
        ("model.a?b", "model.a-x3F-b"),
        ("model.a/b", "model.a-x2F-b"),
        ("model.a-x3F-b", "model.a-x2D-x3F-b"),
    ],
)
def test_only_characters_that_mlflow_refuses_are_escaped(key: str, name: str) -> None:
    assert param_name(key) == name


@given(st.text(alphabet="ax3F-?:/ü\n_", max_size=12))
def test_the_name_of_a_param_determines_the_key(key: str) -> None:
    name = param_name(key)
    assert re.sub("-x([0-9A-F]+)-", lambda escape: chr(int(escape[1], 16)), name) == key
    assert re.fullmatch(r"[\w.\- ]*", name)


def test_long_names_stay_within_the_limit_of_mlflow_and_distinct() -> None:
    names = [param_name("l" * count + end) for count in (250, 251, 300) for end in ("", "m", "?")]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == 250
    assert names[0] == "l" * 250
