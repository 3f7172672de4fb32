"""The data of a trial as an input of its MLflow run, which MLflow shows in the column "Dataset"."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs import labels
from orchestrator.tracking.runs.stored_trial import StoredTrial
from orchestrator.tracking.runs.tracked_run import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Dataset

_DIGEST_LENGTH = 12
"""MLflow accepts at most 36 characters."""
_NAME = "data.name"


def ship_data(run: TrackedRun, trial: StoredTrial, sweep: Sweep) -> None:
    """Adds the data to the inputs of a run that has a record, unless it is one of them."""
    if digest := run.tags.get(labels.DATA_DIGEST):
        described = next((attempt.data for attempt in reversed(trial.attempts) if attempt.data), {})
        run.log_data(data_set(sweep, trial.config, digest, described))


def data_set(sweep: Sweep, config: TrialConfig, digest: str, described: Mapping[str, Any]) -> "Dataset":
    """Returns the data as an entity of MLflow. `described` is as in `Attempt.data`; without it there is no schema.

    Within a sweep, MLflow identifies data by name and digest. The digest does not depend on settings such as
    `train_subset`, so the name contains those that the sweep varies.
    """
    from mlflow.entities import Dataset

    settings = {key: value for key, value in config.flat().items() if key.startswith("data.")}
    varied = [
        f"{key.removeprefix('data.')}={settings[key]}" for key in sweep.varied if key in settings and key != _NAME
    ]
    sizes = {key: value for key, value in described.items() if not isinstance(value, Mapping)}
    return Dataset(
        name=" ".join([settings[_NAME], *varied]),
        digest=digest[:_DIGEST_LENGTH],
        source_type="code",
        source=json.dumps({"tags": {key: str(value) for key, value in settings.items() if value is not None}}),
        schema=json.dumps(_schema(described)) if described else None,
        profile=json.dumps(sizes) if described else None,
    )


def _schema(described: Mapping[str, Any]) -> dict[str, Any]:
    """Returns shape and type of inputs and targets in MLflow's format; -1 is the number of samples."""
    return {
        "mlflow_tensorspec": {
            mlflows: json.dumps(
                [
                    {
                        "type": "tensor",
                        "tensor-spec": {
                            "dtype": described[ours]["dtype"],
                            "shape": [-1, *described[ours]["shape"]],
                        },
                    }
                ]
            )
            for mlflows, ours in (("features", "inputs"), ("targets", "targets"))
        }
    }
