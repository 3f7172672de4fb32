"""A prepared view of an experiment in MLflow: the charts, and the runs averaged over their seeds.

MLflow stores a shared view as JSON in a tag of the experiment, and a link opens it. The format is not documented. It is
that of MLflow 3.17; a browser test fails if it changes.
"""

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs.labels import KIND, param_name

VIEW = "hessian-dynamics"
"""The key of the view in links."""
TAG = f"mlflow.sharedViewState.{VIEW}"
_LONGEST = 20_000
"""Maximum length of a tag. A view with more charts lacks the last ones."""
_FIRST = ("hessian/lambda_max", "hessian/trace")
_SPLITS = ("validation", "test", "ood", "train")
_LAST = ("gradient/norm", "time/train_seconds", "time/measure_seconds")
_NOT_VARIED = ("seed", "epochs", "steps", "data.path")


def view_tag(sweep: Sweep) -> dict[str, str]:
    """Returns the tag of the experiment that holds the view."""
    charts = list(dict.fromkeys(_keys(sweep)))
    while len(text := json.dumps(_view(sweep, charts), separators=(",", ":"))) > _LONGEST:
        charts.pop()
    return {TAG: text}


def _keys(sweep: Sweep) -> Iterator[str]:
    """The keys of the charts: lambda_max, the trace, accuracies and losses, then the other quantities of the sweep."""
    measured = list(_measured_keys(sweep))
    yield from (key for key in _FIRST if key in measured)
    yield from (f"{kind}/{split}" for kind in _scores(sweep) for split in _SPLITS)
    yield from (*measured, *_LAST)


def _scores(sweep: Sweep) -> tuple[str, ...]:
    """Accuracies and losses, and R2 if targets can be real: in tables and data of the user's own."""
    names = {trial.data.name for trial in sweep.trials}
    real = any(name == "table" or ":" in name for name in names)
    return ("accuracy", "r2", "loss") if real else ("accuracy", "loss")


def _measured_keys(sweep: Sweep) -> Iterator[str]:
    """The keys of the quantities that the trials measure, without their errors."""
    names = dict.fromkeys(each.name for trial in sweep.trials for each in trial.measurement.estimators)
    for kind in (BUILT_IN[name] for name in names if name in BUILT_IN):
        keys = (*kind.record_keys, *(quantity.key for quantity in kind.quantities))
        yield from (key for key in keys if "{" not in key and not key.endswith(("_residual", "_error")))


def _view(sweep: Sweep, keys: list[str]) -> dict[str, Any]:
    sections = list(dict.fromkeys(key.partition("/")[0] for key in keys))
    return {
        "searchFilter": f"tags.{KIND} = 'trial'",  # the run of the sweep itself has no curves
        "compareRunSections": [_section(name) for name in sections],
        "compareRunCharts": [_chart(key) for key in keys],
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOWALL",
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runListHidden": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "groupBy": _groups(sweep),
    }


def _groups(sweep: Sweep) -> dict[str, Any] | None:
    """Averages runs that differ only in the seed; None if no two do."""
    settings = [key for key in sweep.varied if key not in _NOT_VARIED]
    values = {tuple(repr(trial.flat().get(key)) for key in settings) for trial in sweep.trials}
    if len(values) == len(sweep.trials):
        return None
    keys = settings or ["model.name"]
    return {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": param_name(key)} for key in keys],
    }


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": f"section-{name}",
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 340,
    }


def _chart(key: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": f"chart-{key}",
        "metricSectionId": f"section-{key.partition('/')[0]}",
        "metricKey": key,
        "selectedMetricKeys": [key],
        "runsCountToCompare": 50,
        "deleted": False,
        "isGenerated": False,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "useGlobalXaxisKey": False,
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "range": {},
        "displayPoints": False,
    }
