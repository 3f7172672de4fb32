"""MLflow's side: the experiment of a sweep and its runs, found by their tags before any is made."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.labels import SHIPPED_EPOCH, experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

BATCH_METRICS = 900
"""MLflow takes 1000 metrics, params and tags together in one batch."""
_PAGE = 200


class TrackedRun:
    """One run as the tracker has it. Every change goes to the tracker first, and nothing is sent that it has."""

    def __init__(self, client: "MlflowClient", run: "Run") -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self._artifacts: str = run.info.artifact_uri
        self.name: str = run.info.run_name or ""
        self.status: str = run.info.status
        self.started_ms: int = run.info.start_time or 0
        self.ended_ms: int | None = run.info.end_time
        self.tags: dict[str, str] = dict(run.data.tags)
        self.params: dict[str, str] = dict(run.data.params)

    @property
    def shipped_epoch(self) -> int:
        """The last epoch the tracker has; -1 before epoch 0."""
        return int(self.tags.get(SHIPPED_EPOCH, -1))

    def log(self, records: Sequence[EpochRecord], tags: Mapping[str, str]) -> None:
        """Adds the points of these epochs, then the cursor and `tags`, in one request.

        MLflow commits a batch's metrics before it writes the batch's tags, so the cursor never runs ahead. A point
        that is there already stays one point: its timestamp is the record's own.
        """
        self._log(_points(records), {**tags, SHIPPED_EPOCH: str(records[-1].epoch)}, {})

    def log_again(self, label: str, records: Sequence[EpochRecord], tags: Mapping[str, str]) -> None:
        """Adds the points of a measurement under keys that begin with its label; `tags` with the last of them."""
        metrics = _points(records, prefix=f"{label}/")
        for start in range(0, len(metrics), BATCH_METRICS):
            last = start + BATCH_METRICS >= len(metrics)
            self._log(metrics[start : start + BATCH_METRICS], tags if last else {}, {})

    def describe(self, name: str, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Gives the run its name, tags and params, where it does not have them."""
        self._log([], tags, {key: value for key, value in params.items() if key not in self.params})
        if name != self.name:
            self._client.update_run(self.run_id, name=name)
            self.name = name

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags, where they are not so already."""
        self._log([], tags, {})

    def remove_tags(self, *keys: str) -> None:
        """Takes back what is true no longer."""
        for key in keys:
            if key in self.tags:
                self._client.delete_tag(self.run_id, key)
                del self.tags[key]

    def set_status(self, status: str, ended_ms: int | None = None) -> None:
        """Moves the run on; a status that ends it says when it ended."""
        ended_ms = None if ended_ms is None else max(ended_ms, self.started_ms)
        if status == self.status and ended_ms in (None, self.ended_ms):
            return
        from mlflow.entities import RunStatus

        # Not by the client's own methods: they ask for the run first.
        store: Any = self._client._tracking_client.store
        store.update_run_info(self.run_id, RunStatus.from_string(status), ended_ms, None)
        self.ended_ms = self.ended_ms if ended_ms is None else ended_ms
        self.status = status

    def upload(self, file: str, content: str) -> None:
        """Stores an artifact, in the place of an older one of that name.

        Not by the client's `log_text`, which asks for the run first to know where its artifacts lie.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        folder, _, name = file.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, name)
            path.write_text(content, encoding="utf-8")
            place: Any = get_artifact_repository(self._artifacts, tracking_uri=self._client.tracking_uri)
            place.log_artifact(str(path), folder or None)

    def _log(self, metrics: "Sequence[Metric]", tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        news = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        if metrics or news or params:
            self._client.log_batch(
                self.run_id,
                metrics,
                [Param(key, value) for key, value in params.items()],
                [RunTag(key, value) for key, value in news.items()],
            )
        self.tags.update(news)
        self.params.update(params)


def open_experiment(client: "MlflowClient", sweep: Sweep, artifacts: str | None) -> str:
    """The id of the sweep's experiment. It is made where there is none, and restored where it was deleted."""
    tags = experiment_tags(sweep)
    experiment = client.get_experiment_by_name(sweep.name)
    if experiment is None:
        return str(client.create_experiment(sweep.name, artifacts, dict(tags)))
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    for key, value in tags.items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


def find_runs(client: "MlflowClient", experiment_id: str) -> Iterator[TrackedRun]:
    """All runs of an experiment that are not deleted."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], max_results=_PAGE, page_token=token)
        yield from (TrackedRun(client, run) for run in page)
        token = page.token
        if not token:
            return


def create_run(
    client: "MlflowClient", experiment_id: str, name: str, tags: Mapping[str, str], started_ms: int
) -> TrackedRun:
    """A new run, scheduled. Its tags are part of the request that makes it: no kill leaves a run that nobody finds."""
    run = TrackedRun(client, client.create_run(experiment_id, started_ms, dict(tags), name))
    run.tags.update(tags)
    run.name = name
    run.set_status("SCHEDULED")
    return run


def _points(records: Sequence[EpochRecord], prefix: str = "") -> "list[Metric]":
    from mlflow.entities import Metric

    return [
        Metric(f"{prefix}{key}", _storable(value), record.timestamp_ms, record.epoch)
        for record in records
        for key, value in record.metrics().items()
    ]


def _storable(value: float) -> float:
    # A database holds no infinity: MLflow would store the largest double instead, a finite number that nobody
    # measured and that flattens every other curve of the chart. NaN it keeps as NaN. The store has the infinity.
    return value if math.isfinite(value) else math.nan
