"""Helpers that store sweeps without training, and read back what a tracker shows."""

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from mlflow.entities import Run

from orchestrator.store.attempt import Attempt
from orchestrator.store.files.remeasurements import Remeasurement
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.store.trial_status import State
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.tracking.client import connect

T0 = 1_700_000_000_000
PROVENANCE = Provenance("0.1.0", "abc123", "hessian-dynamics run toy", "cluster", "me", "3.11", "a processor")
SWEEP_PROVENANCE = replace(PROVENANCE, host="driver-host")
DIGEST = "d" * 64
LABEL = "fraction-0.5"
LATER = T0 + 1_000_000
BATCHES = 21
"""Batches of 64 in an epoch of the digits."""
_RUNS = ("runs", "metrics", "latest_metrics", "params", "tags")
_MODELS = ("logged_models", "logged_model_metrics", "logged_model_params", "logged_model_tags")
_TABLES = (*_RUNS, *_MODELS, "experiments", "experiment_tags", "datasets", "inputs")
IN_STEPS: dict[str, Any] = {"epochs": None, "steps": 50, "record_every": "8 steps"}
"""A trial with records inside epochs."""


def sweep(seeds: int = 2, epochs: int = 3, name: str = "toy", **fields: Any) -> Sweep:
    trials = [
        TrialConfig.model_validate(
            {
                "data": {"name": "digits"},
                "optimizer": {"name": "sgd", "lr": lr},
                "epochs": epochs,
                "seed": seed,
                **fields,
            }
        )
        for lr in (0.01, 0.05)
        for seed in range(seeds)
    ]
    return Sweep(name, "Curves that nobody trained.", tuple(trials), Resources())


def record(epoch: int, seed: int = 0, loss: float | None = None) -> Record:
    """Returns a plausible epoch with 17 scalars and three vectors."""
    wave = math.sin(epoch + seed)
    lost = 2.3 * math.exp(-0.3 * epoch) + 0.02 * seed
    accuracy = 1 - 0.9 * math.exp(-0.4 * epoch) - 0.005 * seed
    return Record(
        number=epoch,
        timestamp_ms=T0 + 1000 * epoch + seed,
        loss_train=lost if loss is None else loss,
        loss_validation=lost * 1.1,
        accuracy_train=accuracy,
        accuracy_validation=accuracy * 0.97,
        accuracy_test=accuracy * 0.96,
        accuracy_ood=accuracy * 0.9,
        hessian_lambda_max=20 + 10 * wave + 3 * epoch,
        hessian_lambda_max_residual=0.01,
        hessian_lambda_min=-0.5 + 0.1 * wave,
        hessian_trace=200 + 50 * wave + 20 * epoch,
        hessian_trace_standard_error=4.0,
        algorithm1_max_eigenvalue=19 + 10 * wave + 3 * epoch,
        algorithm1_trace=205 + 50 * wave + 20 * epoch,
        algorithm1_trace_std=13.0,
        hessian_products=30.0,
        gradient_norm=1 / (1 + epoch),
        time_measure_seconds=1.5,
        lanczos_history=(1.0, 2.0 + epoch, 1 / 3),
        algorithm1_trace_samples=(0.1 * epoch, 200.0),
    )


def attempt(started_ms: int = T0 - 500, **changes: Any) -> Attempt:
    content = {
        "name": f"{started_ms}-abc",
        "first_record": 0,
        "provenance": PROVENANCE,
        "environment": {"device": "cpu", "threads": 2},
    }
    return Attempt(started_ms=started_ms, **{**content, **changes})


def manifest(folder: Path, desired: Sweep) -> Storage:
    storage = Storage(folder)
    storage.sweep(desired.name).write_manifest(desired, SWEEP_PROVENANCE)
    return storage


def train(
    storage: Storage, config: TrialConfig, first: int, last: int, ended: State | None = None, **changes: Any
) -> None:
    """Commits the epochs `first`..`last` in one attempt with the outcome `ended`; None means that it was killed."""
    trial = storage.trial(config.trial_id)
    trial.write_config(config)
    now = attempt(started_ms=changes.pop("started_ms", T0 - 500 + 1000 * first), ended=ended, **changes)
    trial.write_attempt(now)
    for epoch in range(first, last + 1):
        loss = math.nan if ended is State.DIVERGED and epoch == last else None
        found = record(epoch, config.seed, loss)
        if config.cadence.in_steps:
            cadence = config.cadence
            found = replace(found, epoch=cadence.epoch(epoch, BATCHES), step=cadence.step(epoch, BATCHES))
        trial.commit(found, b"state", DIGEST, now.name)


def trained(folder: Path, desired: Sweep) -> Storage:
    """Returns a storage with every trial of the sweep completed."""
    storage = manifest(folder, desired)
    for config in desired.trials:
        train(storage, config, 0, config.records, State.COMPLETED)
    return storage


class Shown:
    """A sweep as read back from a tracker."""

    def __init__(self, uri: str, name: str = "toy") -> None:
        self._uri = uri
        self._cached: dict[str, list[tuple[str, str, int, int, float | None]]] = {}
        self.client = connect(uri)  # a plain MlflowClient keeps connections to a deleted file
        self.experiment = self.client.get_experiment_by_name(name)
        assert self.experiment is not None
        found = self.client.search_runs([self.experiment.experiment_id], max_results=1000)
        assert not found.token
        self.runs: list[Run] = list(found)
        self.trials = {run.data.tags["trial_id"]: run for run in self.runs if run.data.tags["kind"] == "trial"}
        (self.sweep_run,) = (run for run in self.runs if run.data.tags["kind"] == "sweep")
        assert len(self.trials) + 1 == len(self.runs), "one run for each trial"

    def points(self, trial_id: str) -> list[tuple[str, int, int, str]]:
        """Returns (key, epoch, timestamp, value) of every stored point of a trial's run."""
        run_id, keys = self.trials[trial_id].info.run_id, self.trials[trial_id].data.metrics
        if self._uri.startswith("sqlite"):
            with sqlite3.connect(self._uri.removeprefix("sqlite:///")) as connection:
                query = "select key, step, timestamp, case when is_nan then null else value end from metrics"
                found = connection.execute(f"{query} where run_uuid = ?", [run_id]).fetchall()
        else:
            found = [point for key in keys for point in self._server_points(key) if point[0] == run_id]
            found = [point[1:] for point in found]
        return sorted((key, step, at, repr(math.nan if value is None else value)) for key, step, at, value in found)

    def _server_points(self, key: str) -> list[tuple[str, str, int, int, float | None]]:
        """Returns the points of a key in all runs with one request, since a request per run would take seconds."""
        if key not in self._cached:
            runs = [("run_id", run.info.run_id) for run in self.runs]
            query = urlencode([*runs, ("metric_key", key), ("max_results", "25000")])
            with urlopen(f"{self._uri}/ajax-api/2.0/mlflow/metrics/get-history-bulk?{query}") as answer:
                metrics = json.loads(answer.read())["metrics"]
            self._cached[key] = [
                (m["run_id"], m["key"], int(m["step"]), int(m["timestamp"]), _number(m["value"])) for m in metrics
            ]
        return self._cached[key]

    def artifact(self, run: Run, name: str, folder: Path) -> str:
        return Path(self.client.download_artifacts(run.info.run_id, name, str(folder))).read_text()

    def statuses(self) -> dict[str, str]:
        return {trial_id: run.info.status for trial_id, run in self.trials.items()}

    def outcomes(self) -> dict[str, str | None]:
        return {trial_id: run.data.tags.get("outcome") for trial_id, run in self.trials.items()}


def _number(value: object) -> float | None:
    return None if value is None or value == "NaN" else float(str(value))


def expected_points(storage: Storage, config: TrialConfig) -> list[tuple[str, int, int, str]]:
    return sorted(
        (key, config.cadence.position(record.number), record.timestamp_ms, repr(value))
        for record in storage.trial(config.trial_id).records()
        if record.number <= config.records
        for key, value in record.metrics().items()
    )


def assert_shows(uri: str, storage: Storage, desired: Sweep) -> Shown:
    """Asserts one run per trial and one point per key and epoch, with the record's value and time."""
    shown = Shown(uri, desired.name)
    assert set(shown.trials) == set(desired.by_id)
    for trial_id, config in desired.by_id.items():
        assert shown.points(trial_id) == expected_points(storage, config)
    return shown


def rows(database: Path) -> dict[str, list[Any]]:
    """Returns all database rows that shipping can change."""
    with sqlite3.connect(database) as connection:
        return {table: sorted(map(repr, connection.execute(f"select * from {table}"))) for table in _TABLES}


def vectors(storage: Storage, trial_id: str) -> list[dict[str, Any]]:
    found = [{"number": r.number, "epoch": r.epoch, **r.vectors()} for r in storage.trial(trial_id).records()]
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def measure(storage: Storage, config: TrialConfig, *epochs: int, label: str = LABEL) -> None:
    for epoch in epochs:
        record = Record(
            number=epoch,
            timestamp_ms=LATER - epoch,  # not in the order of the epochs
            hessian_lambda_max=1 / (epoch + 3),
            hessian_trace=epoch / 7,
            gradient_norm=0.1 * config.seed,
            time_measure_seconds=2.5,
            lanczos_history=(0.1, 1 / (epoch + 3)),
        )
        measured = Remeasurement(record, MeasurementConfig(fraction=0.5), "c" * 64, DIGEST, PROVENANCE, {"threads": 1})
        assert storage.trial(config.trial_id).remeasurements.add(label, measured)


def shipper_status(storage: Storage, name: str = "toy") -> ShipperStatus:
    """Returns what the shipper last reported."""
    return storage.sweep(name).shipper_status() or ShipperStatus("none", "", 0, 0)


def all_shipped(storage: Storage, name: str = "toy") -> bool:
    """Returns whether a shipper is active and nothing is pending."""
    status = shipper_status(storage, name)
    return status.state == "shipping" and status.pending_records == 0


def shown_trials(uri: str, name: str = "toy") -> dict[str, Run]:
    """Returns the trials' runs, or an empty dict while a shipper is still creating them."""
    try:
        return Shown(uri, name).trials
    except Exception:
        return {}
