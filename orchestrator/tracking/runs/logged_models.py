"""The kept checkpoints of an ended trial as logged models, which MLflow lists with their curvature and accuracies.

MLflow gives every logged model a random id. A tag holds the number of the record, and models are looked up before any
is created, so a checkpoint has one model however often it is shipped. The files stay in the store.
"""

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from orchestrator.store.files.commit import Commit
from orchestrator.store.provenance.redaction import redacted
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs import labels
from orchestrator.tracking.runs.data_input import data_set
from orchestrator.tracking.runs.stored_trial import StoredTrial, reading
from orchestrator.tracking.runs.tracked_run import BATCH_METRICS, TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Metric

RECORD = "record"
CHECKPOINT = "checkpoint"
_KEYS = ("hessian/lambda_max", "hessian/trace", "stability/ratio")
_TOPICS = ("accuracy/", "r2/")


def ship_models(run: TrackedRun, trial: StoredTrial, sweep: Sweep) -> None:
    """Gives each kept checkpoint of an ended trial a logged model, then sets the tag that describes them.

    Models of checkpoints that are no longer kept are deleted.

    Raises:
        DamagedTrialError: if the checkpoints cannot be listed.
    """
    if trial.outcome is None:
        return
    with reading(trial.store):
        kept = _kept(trial, run.shipped_number)
    version = labels.measured_tag([commit.record.number for commit in kept])
    if run.tags.get(labels.MODELS_SHOWN, labels.measured_tag([])) == version:
        return
    found = delete_models(run, keep={str(commit.record.number) for commit in kept})
    models = [(found.get(str(commit.record.number)) or _create(run, trial, sweep, commit), commit) for commit in kept]
    metrics = [metric for model, commit in models for metric in _metrics(model, commit, trial.config, sweep)]
    for start in range(0, len(metrics), BATCH_METRICS):
        run.client.log_batch(run.run_id, metrics[start : start + BATCH_METRICS])
    for model, _ in models:
        if model.status != "READY":
            run.client.finalize_logged_model(model.model_id, "READY")
    run.add_tags({labels.MODELS_SHOWN: version})


def delete_models(run: TrackedRun, keep: Collection[str] = ()) -> "dict[str, LoggedModel]":
    """Deletes the logged models of a run except one for each record in `keep`. Returns these by record."""
    kept: dict[str, LoggedModel] = {}
    for model in list(_models(run)):
        record = model.tags.get(RECORD, "")
        if record in keep and record not in kept:
            kept[record] = model
        else:
            run.client.delete_logged_model(model.model_id)
    return kept


def _kept(trial: StoredTrial, last: int) -> list[Commit]:
    """Returns the commits whose checkpoints are kept: those chosen by the sweep, and the last one of a final trial."""
    final = trial.status.number if trial.status.state.final else None
    commits = trial.store.with_checkpoint(last)
    return [commit for commit in commits if commit.keep or commit.record.number == final]


def _models(run: TrackedRun) -> "Iterator[LoggedModel]":
    token: str | None = None
    while True:
        page = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _create(run: TrackedRun, trial: StoredTrial, sweep: Sweep, commit: Commit) -> "LoggedModel":
    config, number = trial.config, commit.record.number
    varied = {labels.param_name(key) for key in sweep.settings(config)}
    return run.client.create_logged_model(
        run.experiment_id,
        f"{'step' if config.cadence.in_steps else 'epoch'} {config.cadence.position(number)}",
        run.run_id,
        tags={
            RECORD: str(number),
            CHECKPOINT: redacted(trial.store.checkpoint_uri(commit)),
            "checkpoint_digest": commit.checkpoint_digest,
            labels.TRIAL_ID: config.trial_id,
        },
        params={key: value for key, value in labels.trial_params(config).items() if key in varied},
        model_type=config.model.name,
    )


def _metrics(model: "LoggedModel", commit: Commit, config: TrialConfig, sweep: Sweep) -> "Iterator[Metric]":
    """Yields points that the run also has, with the data. MLflow stores a point of a model once."""
    from mlflow.entities import Metric

    record, step = commit.record, config.cadence.position(commit.record.number)
    data = data_set(sweep, config, commit.data_digest, {})
    for key, value in record.metrics().items():
        if (key in _KEYS or key.startswith(_TOPICS)) and math.isfinite(value):
            yield Metric(key, value, record.timestamp_ms, step, model.model_id, data.name, data.digest)
