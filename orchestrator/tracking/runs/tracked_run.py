"""Opens a sweep's MLflow experiment; finds, creates and updates its runs."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.study.record import SCALARS, Record
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs.chart_view import view_tags
from orchestrator.tracking.runs.labels import SHIPPED_RECORD, experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Metric, Run

StepOf = Callable[[int], int]
"""Maps the number of a record to MLflow's step: the epoch, or the optimizer step if records fall inside epochs."""
BATCH_METRICS = 900
"""Metrics per request. MLflow accepts 1000 metrics, params and tags together."""
_BATCH_PARAMS = 100
_PAGE = 200
_TIMES = frozenset({"loss/train", *(quantity.key for quantity in SCALARS if not quantity.reproducible)})
"""Keys whose points differ if a record is computed again. `loss/train` shows whether its timestamp differs."""


class TrackedRun:
    """Local copy of an MLflow run. It is updated after the tracker; values that the tracker has are not sent again."""

    def __init__(self, client: "MlflowClient", run: "Run") -> None:
        self.client = client
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self._artifacts: str = run.info.artifact_uri
        self.name: str = run.info.run_name or ""
        self.status: str = run.info.status
        self.started_ms: int = run.info.start_time or 0
        self.ended_ms: int | None = run.info.end_time
        self.tags: dict[str, str] = dict(run.data.tags)
        self.params: dict[str, str] = dict(run.data.params)
        self.metric_keys: frozenset[str] = frozenset(run.data.metrics)
        """Keys of the metrics that the run had when it was looked up."""
        inputs = run.inputs.dataset_inputs if run.inputs else []
        self._data: set[str] = {each.dataset.digest for each in inputs}

    @property
    def shipped_number(self) -> int:
        """The cursor: the number of the last record in the tracker; -1 if there is none."""
        return int(self.tags.get(SHIPPED_RECORD, -1))

    def log_records(self, records: Sequence[Record], steps: StepOf, tags: Mapping[str, str], prefix: str = "") -> None:
        """Logs the metrics of these records, with `prefix` before each key, then sets `tags`.

        `steps` maps the number of a record to the step of its points.

        MLflow commits a batch's metrics before its tags, so a cursor in `tags` never runs ahead of the points. Shipping
        a point twice stores it once, because both copies have the timestamp of the record.
        """
        metrics = _points(records, steps, prefix)
        for start in range(0, max(len(metrics), 1), BATCH_METRICS):
            last = start + BATCH_METRICS >= len(metrics)
            self._log(metrics[start : start + BATCH_METRICS], tags if last else {}, {})

    def has_times_of(self, records: Sequence[Record], steps: StepOf) -> bool:
        """Returns whether the tracker has the times of these records exactly once."""
        shown = {steps(record.number) for record in records}
        expected = [point for point in _points(records, steps) if point.key in _TIMES]
        found = [
            point
            for key in {point.key for point in expected}
            for point in self.client.get_metric_history(self.run_id, key)
            if point.step in shown
        ]
        return sorted(map(_comparable, found)) == sorted(map(_comparable, expected))

    def describe(self, name: str, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Sets the run's name and tags, and adds missing params. MLflow does not allow changing existing ones."""
        missing = [(key, value) for key, value in params.items() if key not in self.params]
        for start in range(0, len(missing), _BATCH_PARAMS):
            self._log([], {}, dict(missing[start : start + _BATCH_PARAMS]))
        self._log([], tags, {})
        if name != self.name:
            self.client.update_run(self.run_id, name=name)
            self.name = name

    def log_data(self, data: "Dataset") -> None:
        """Adds data to the inputs of the run, unless data with the same digest is one of them."""
        if data.digest in self._data:
            return
        from mlflow.entities import DatasetInput, InputTag

        self.client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        self._data.add(data.digest)

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags."""
        self._log([], tags, {})

    def remove_tags(self, *keys: str) -> None:
        """Removes tags that exist."""
        for key in keys:
            if key in self.tags:
                self.client.delete_tag(self.run_id, key)
                del self.tags[key]

    def set_status(self, status: str, ended_ms: int | None = None) -> None:
        """Sets the run's status and, if it ended, its end time in Unix ms."""
        ended_ms = None if ended_ms is None else max(ended_ms, self.started_ms)
        if status == self.status and ended_ms in (None, self.ended_ms):
            return
        from mlflow.entities import RunStatus

        # The client's methods would request the run first.
        store: Any = self.client._tracking_client.store
        store.update_run_info(self.run_id, RunStatus.from_string(status), ended_ms, None)
        self.ended_ms = self.ended_ms if ended_ms is None else ended_ms
        self.status = status

    def lacks(self, file: str) -> bool:
        """Returns whether an artifact at the top level is missing."""
        return file not in {found.path for found in self._repository().list_artifacts()}

    def upload(self, file: str, content: str | bytes) -> None:
        """Stores an artifact and replaces an older one of the same name."""
        folder, _, name = file.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, name)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            self._repository().log_artifact(str(path), folder or None)

    def upload_version(self, tag: str, version: str, files: Callable[[], Mapping[str, str]]) -> dict[str, str]:
        """Uploads files by name unless the run's tag shows that this version was uploaded.

        Returns the tag to set afterwards. If the process is killed in between, the files are uploaded again.
        """
        if self.tags.get(tag, "") != version:
            for name, content in files().items():
                self.upload(name, content)
        return {tag: version}

    def _repository(self) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        # The client's own methods would request the run first, to find its artifact folder.
        return get_artifact_repository(self._artifacts, tracking_uri=self.client.tracking_uri)

    def _log(self, metrics: "Sequence[Metric]", tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        changed = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        if metrics or changed or params:
            self.client.log_batch(
                self.run_id,
                metrics,
                [Param(key, value) for key, value in params.items()],
                [RunTag(key, value) for key, value in changed.items()],
            )
        self.tags.update(changed)
        self.params.update(params)


def open_experiment(client: "MlflowClient", sweep: Sweep, artifacts: str | None) -> str:
    """Returns the id of the sweep's experiment. Creates it if missing; restores it if deleted."""
    tags = experiment_tags(sweep) | view_tags(sweep)
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
    """Yields all runs of an experiment that are not deleted."""
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
    """Creates a run in state SCHEDULED. One request creates it with its tags, so it can be found after a kill."""
    run = TrackedRun(client, client.create_run(experiment_id, started_ms, dict(tags), name))
    run.tags.update(tags)
    run.name = name
    run.set_status("SCHEDULED")
    return run


def _comparable(point: "Metric") -> tuple[str, int, int, str]:
    return point.key, point.step, point.timestamp, repr(float(point.value))


def _points(records: Sequence[Record], steps: StepOf, prefix: str = "") -> "list[Metric]":
    from mlflow.entities import Metric

    # A database cannot store infinities. MLflow would replace them by the largest double, which is wrong and flattens
    # the chart, so NaN is sent instead. The store keeps the infinity.
    return [
        Metric(f"{prefix}{key}", value if math.isfinite(value) else math.nan, record.timestamp_ms, steps(record.number))
        for record in records
        for key, value in record.metrics().items()
    ]
