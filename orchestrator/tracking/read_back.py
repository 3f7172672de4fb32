"""Reads a sweep's tables from a tracker. They equal the tables read from the store, except for infinities.

Points are requested key by key, for several runs at once. Each request stays below 25,000 points, because an MLflow
server silently drops the points beyond that limit.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.store.frames import Frames, TrialFacts, assemble, parsed_samples, scalar_columns
from orchestrator.store.gallery import Gallery
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.sweep import manifest_content
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import SCALARS
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.client import connect, reason
from orchestrator.tracking.runs import artifacts, labels
from orchestrator.tracking.runs.tracked_run import TrackedRun, find_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

POINTS_PER_REQUEST = 25_000  # limit of an MLflow server
RUNS_PER_REQUEST = 100  # MLflow's limit
_KEYS = frozenset(quantity.key for quantity in SCALARS)
Point = tuple[str, str, int, float]  # run, key, step, value


class TrackerContentError(ValueError):
    """The tracker lacks data or has it twice. The message says how to fix it."""


def frames_from_mlflow(name: str, tracking_uri: str) -> Frames:
    """Returns the tables of a sweep from a tracker. Infinite values are NaN, since trackers cannot store them.

    Raises:
        ValueError: if MLflow does not support this URI.
        TrackerContentError: if the sweep or some of its points are missing or duplicated.
        ConnectionError: if the tracker does not answer.
        ModuleNotFoundError: if MLflow is not installed.
    """
    uri = absolute_uri(tracking_uri)
    client = connect(uri)
    from mlflow.exceptions import MlflowException

    try:
        return _frames(client, uri, name)
    except (MlflowException, OSError) as error:
        raise ConnectionError(
            f"tracker {redacted(uri)} cannot be read ({reason(error, uri)}); start it, or correct --tracking-uri"
        ) from None


def _frames(client: "MlflowClient", uri: str, name: str) -> Frames:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise TrackerContentError(f"{redacted(uri)} has no experiment {name!r}; {_ship(name)}")
    runs = list(find_runs(client, experiment.experiment_id))
    sweep_run = _sweep_run(runs, name, uri)
    sweep, provenance = manifest_content(_text(client, sweep_run.run_id, artifacts.MANIFEST))
    mine = {run.tags[labels.TRIAL_ID]: run for run in runs if run.tags.get(labels.TRIAL_ID) in sweep.by_id}
    if missing := [trial_id for trial_id in sweep.by_id if trial_id not in mine]:
        raise TrackerContentError(f"{redacted(uri)} has no run of trial {missing[0]} of {name!r}; {_ship(name)}")
    by_run: dict[str, list[Point]] = {run.run_id: [] for run in mine.values()}
    for point in _points(client, uri, list(mine.values())):
        by_run[point[0]].append(point)
    facts = [_facts(client, config, mine[key], by_run[mine[key].run_id]) for key, config in sweep.by_id.items()]
    return replace(assemble(sweep, provenance, facts), gallery=_gallery(client, sweep_run))


def _gallery(client: "MlflowClient", sweep_run: TrackedRun) -> Gallery | None:
    if labels.GALLERY_DIGEST not in sweep_run.tags:
        return None
    return Gallery.from_bytes(_text(client, sweep_run.run_id, artifacts.GALLERY).encode())


def _sweep_run(runs: Sequence[TrackedRun], name: str, uri: str) -> TrackedRun:
    found = [run for run in runs if run.tags.get(labels.KIND) == "sweep"]
    if len(found) == 1:
        return found[0]
    raise TrackerContentError(
        f"{redacted(uri)} has {len(found)} runs of kind sweep in {name!r}, expected one; {_ship(name)}"
    )


def _ship(name: str) -> str:
    return f"ship it first: hessian-dynamics ship {name}"


def _facts(client: "MlflowClient", config: TrialConfig, run: TrackedRun, points: list[Point]) -> TrialFacts:
    shipped = range(min(run.shipped_number, config.records) + 1)
    numbers = {config.cadence.position(number): number for number in shipped}
    values: dict[int, dict[str, float]] = {number: {} for number in shipped}
    what = "step" if config.cadence.in_steps else "epoch"
    for _, key, step, value in points:
        if step in numbers:
            row = values[numbers[step]]
            if key in row:
                raise TrackerContentError(
                    f"run {run.run_id} has two points of {key} at {what} {step}; delete the run, then {_ship('SWEEP')}"
                )
            row[key] = value
    if empty := [step for step, number in numbers.items() if not values[number]]:
        raise TrackerContentError(f"run {run.run_id} lacks {what} {empty[0]}; delete the run, then {_ship('SWEEP')}")
    tags = run.tags
    again = {tag.removeprefix(labels.MEASURED_AGAIN) for tag in tags if tag.startswith(labels.MEASURED_AGAIN)}
    begun = bool(shipped) or labels.OUTCOME in tags  # before that, the tags describe the sweep's driver
    vectors = parsed_samples(_text(client, run.run_id, artifacts.CURVATURE)) if labels.CURVATURE_RECORD in tags else {}
    return TrialFacts(
        config,
        _state(run),
        {number: _columns(row, again) for number, row in values.items()},
        {number: row for number, row in vectors.items() if number in values},
        int(tags[labels.STEPS_PER_EPOCH]) if labels.STEPS_PER_EPOCH in tags else None,
        failure=tags.get(labels.FAILURE),
        missing_quantities=tags.get(labels.MISSING_QUANTITIES),
        commit=tags.get("mlflow.source.git.commit") if begun else None,
        host=tags.get("host") if begun else None,
        processor=tags.get("processor") if begun else None,
        device=tags.get("device"),
        data_digest=tags.get(labels.DATA_DIGEST),
    )


def _state(run: TrackedRun) -> State:
    if labels.OUTCOME in run.tags:
        return State(run.tags[labels.OUTCOME])
    return State.RUNNING if run.status == "RUNNING" else State.PENDING


def _columns(row: dict[str, float], labels_again: set[str]) -> dict[str, float]:
    """Returns columns for keys such as ``hessian/trace``, and ``fraction-0.5/hessian/trace`` of a remeasurement."""
    found: dict[str, float] = {}
    for key, value in row.items():
        label, _, rest = key.partition("/")
        again = label in labels_again or rest in _KEYS  # a killed shipper may not have set the tag of the label
        found |= scalar_columns({rest: value}, label) if again else scalar_columns({key: value})
    return found


def _points(client: "MlflowClient", uri: str, runs: Sequence[TrackedRun]) -> Iterator[Point]:
    longest = max((run.shipped_number + 1 for run in runs), default=1)
    size = max(1, min(RUNS_PER_REQUEST, (POINTS_PER_REQUEST - 1) // max(longest, 1)))
    for batch in (runs[start : start + size] for start in range(0, len(runs), size)):
        for key in sorted(set().union(*(run.metric_keys for run in batch))):
            expected = {run.run_id for run in batch if key in run.metric_keys}
            points = _history(client, uri, key, [run.run_id for run in batch])
            if (uri.startswith("http") and len(points) >= POINTS_PER_REQUEST) or {
                point[0] for point in points
            } != expected:
                raise TrackerContentError(
                    f"{redacted(uri)} returned an incomplete result: {len(points)} points of {key} for "
                    f"{len(expected)} runs; export from the store instead, without --from"
                )
            yield from points


def _history(client: "MlflowClient", uri: str, key: str, runs: list[str]) -> list[Point]:
    """Returns all points of a key. Uses MLflow's store, because its client can only request one run at a time."""
    store: Any = client._tracking_client.store
    if not uri.startswith("http"):
        found = store.get_metric_history_bulk(runs, key, None)  # no limit
        return [(point.run_id, point.key, point.step, point.value) for point in found]
    from mlflow.utils.rest_utils import http_request

    answer = http_request(  # type: ignore[no-untyped-call]
        store.get_host_creds(),
        "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        "GET",
        params={"run_id": runs, "metric_key": key, "max_results": POINTS_PER_REQUEST},
        timeout=60,
    )
    answer.raise_for_status()
    metrics: list[dict[str, Any]] = json.loads(answer.text)["metrics"]
    return [(m["run_id"], m["key"], int(m["step"]), _number(m["value"])) for m in metrics]


def _number(value: object) -> float:
    return math.nan if value is None else float(str(value))


def _text(client: "MlflowClient", run_id: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-artifact-") as scratch:
        try:
            return Path(client.download_artifacts(run_id, name, scratch)).read_text()
        except (MlflowException, OSError) as error:
            raise TrackerContentError(
                f"run {run_id} lacks the artifact {name} ({reason(error, client.tracking_uri)}); {_ship('SWEEP')}"
            ) from None
