"""The JSON schema of sweep files: it accepts what the loader accepts, and finds typical mistakes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.schema import sweep_file_schema
from orchestrator.study.sweep import load_sweep
from orchestrator.study.yaml_file import read_yaml
from tests.study.configs import trials

SWEEPS = Path(__file__).parents[2] / "sweeps"
FILES = sorted(SWEEPS.glob("*.yaml"))
VALIDATOR = jsonschema.Draft7Validator(sweep_file_schema())
TRIAL = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": 2}


def _accepts(tmp_path: Path, content: dict[str, Any]) -> bool:
    """Whether the schema accepts a file that the loader accepts."""
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
    load_sweep(str(tmp_path / "x.yaml"))
    return VALIDATOR.is_valid(content)


def _errors(content: Any) -> list[str]:
    """The path and the message of the most relevant error, and of those below it."""
    found = jsonschema.exceptions.best_match(VALIDATOR.iter_errors(content))
    return [] if found is None else [found.json_path, found.message]


def test_it_is_a_valid_schema_and_the_one_beside_the_sweeps() -> None:
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)
    assert json.loads((SWEEPS / "schema.json").read_text()) == VALIDATOR.schema, (
        "write it again: hessian-dynamics schema > sweeps/schema.json"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sweep_names_the_schema_and_is_accepted(file: Path) -> None:
    assert file.read_text().partition("\n")[0] == "# yaml-language-server: $schema=schema.json"
    assert _errors(read_yaml(file)) == []


@given(trials)
def test_every_valid_trial_is_accepted(trial: TrialConfig) -> None:
    assert _errors({"trial": trial.model_dump(mode="json")}) == []


@pytest.mark.parametrize(
    "content",
    [
        {"trial": {**TRIAL, "optimizer": {"name": "sgd"}}, "grid": {"optimizer.lr": [0.1, 0.2]}},
        {"trial": {"data": {"name": "digits"}, "epochs": 2}, "grid": [{"optimizer": [{"name": "adam", "lr": 0.1}]}]},
        {"trial": {**TRIAL, "optimizer": {"lr": 0.1}}, "grid": {"optimizer.name": ["sgd", "adam"], "seed": [0, 1]}},
        {
            "trial": {**TRIAL, "optimizer": {"name": "sgd"}},
            "sample": {"trials": 2, "values": {"optimizer.lr": {"log_uniform": [1e-3, 0.1]}}},
        },
        {"trial": {**TRIAL, "model": {"name": "my_nets:Wide", "width": 512}, "data": {"name": "my_data:load", "n": 9}}},
        {"trial": {**TRIAL, "optimizer": {"name": "torch.optim:NAdam", "lr": 0.1, "betas": [0.9, 0.99]}}},
        {"trial": {**TRIAL, "loss": "mse"}, "keep_checkpoints": "every 10", "resources": {"gpu": "auto"}},
        {"trial": {**TRIAL, "loss": {"name": "mse", "factor": "mean"}, "stop": {"accuracy/train": 0.99}}},
        {"trial": {**TRIAL, "data": {"name": "digits", "shift": {"noise": 0.5, "before": "normalisation"}}}},
        {"trial": {**TRIAL, "data": {"name": "digits", "classes": 4, "shift": "my_shifts:rotate"}}},
        {"trial": {**TRIAL, "measurement": {"estimators": ["lanczos", {"name": "layers", "every": "1-2-5"}, "a.b:c"]}}},
        {"trial": {**TRIAL, "measurement": {"estimators": list(BUILT_IN.keys() - {"sampled_trace"})}}},
        {"trial": {**TRIAL, "epochs": None, "steps": 9, "record_every": "3 steps", "batch_size": "full"}},
        {"trial": {**TRIAL, "schedule": {"name": "step", "every": 2}, "augmentation": {"flip": True}}},
        {"trial": TRIAL, "expect": [{"quantity": "loss/test", "value": 1, "within": "10%", "where": {"seed": [0, 1]}}]},
    ],
    ids=lambda content: str(content)[:60],
)
def test_valid_files_are_accepted(tmp_path: Path, content: dict[str, Any]) -> None:
    assert _accepts(tmp_path, content), _errors(content)


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ({"trail": TRIAL}, "$", "'trail' was unexpected"),
        ({"trial": TRIAL, "resources": {"gpus": 1}}, "$.resources", "'gpus' was unexpected"),
        ({"trial": {**TRIAL, "optimiser": {}}}, "$.trial", "'optimiser' was unexpected"),
        ({"trial": {**TRIAL, "optimizer": {"name": "sgd", "lr": 0.1, "betas": 1}}}, "$.trial.optimizer", "'betas'"),
        ({"trial": {**TRIAL, "optimizer": {"name": "sgdm", "lr": 0.1}}}, "$.trial.optimizer.name", "'sgdm' is not one"),
        ({"trial": {**TRIAL, "optimizer": {"name": "sgd", "lr": "0,1"}}}, "$.trial.optimizer.lr", "not of type"),
        ({"trial": {**TRIAL, "optimizer": {"name": "sgd", "lr": -0.1}}}, "$.trial.optimizer.lr", "-0.1 is less than"),
        ({"trial": {**TRIAL, "model": {"name": "mlp", "hidden": 400}}}, "$.trial.model.hidden", "not of type 'array'"),
        ({"trial": {**TRIAL, "loss": {"name": "mse", "facto": 1}}}, "$.trial.loss", "'facto' was unexpected"),
        ({"trial": {**TRIAL, "data": {"name": "digits", "shift": {"nois": 1}}}}, "$.trial.data.shift", "'nois'"),
        ({"trial": {**TRIAL, "record_every": "5 epoch s"}}, "$.trial.record_every", "does not match"),
        ({"trial": {**TRIAL, "batch_size": 0}}, "$.trial.batch_size", "0 is less than the minimum"),
        ({"trial": {**TRIAL, "stop": {"accuracy": 1}}}, "$.trial.stop", "'accuracy' was unexpected"),
        (
            {"trial": {**TRIAL, "measurement": {"estimators": ["lanzcos"]}}},
            "$.trial.measurement.estimators[0]",
            "lanzcos",
        ),
        (
            {"trial": {**TRIAL, "measurement": {"estimators": [{"every": 5}]}}},
            "$.trial.measurement.estimators[0]",
            "name",
        ),
        ({"trial": TRIAL, "grid": {"optimiser.lr": [1, 2]}}, "$.grid", "'optimiser.lr' does not match"),
        ({"trial": TRIAL, "grid": {"seed": 3}}, "$.grid.seed", "3 is not of type 'array'"),
        ({"trial": TRIAL, "grid": {"seed": [0.5]}}, "$.grid.seed[0]", "0.5 is not of type 'integer'"),
        ({"trial": TRIAL, "sample": {"values": {"seed": {"choice": [1]}}}}, "$.sample", "'trials' is a required"),
        ({"trial": TRIAL, "keep_checkpoints": "every"}, "$.keep_checkpoints", "does not match"),
        (
            {"trial": TRIAL, "expect": [{"quantity": "loss/test", "statistic": "mode"}]},
            "$.expect[0].statistic",
            "'mode'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_typical_mistakes_are_found(tmp_path: Path, content: dict[str, Any], path: str, message: str) -> None:
    assert _errors(content)[0] == path
    assert message in _errors(content)[1]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="problem"):  # the loader finds them too
        load_sweep(str(tmp_path / "x.yaml"))
