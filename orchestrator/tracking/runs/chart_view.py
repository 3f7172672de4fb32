"""Prepared views of an experiment in MLflow: curves averaged over seeds, and the spectra of each run.

MLflow stores a shared view as JSON in a tag of the experiment, and a link opens it. The format is not documented. This
module writes the format of MLflow 3.17; a browser test fails if it changes. MLflow shows images of single runs only, so
spectra have a separate view, in which runs are not averaged.
"""

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs.labels import KIND, SPECTRA, SPECTRAL_DENSITY, param_name

CURVES_VIEW, SPECTRA_VIEW = "hessian-dynamics", "hessian-dynamics-spectra"
"""The keys of the views in links."""
_LONGEST = 20_000
"""Maximum length of a tag. A view with more charts lacks the last ones."""
_FIRST = ("hessian/lambda_max", "hessian/trace")
_SPLITS = ("validation", "test", "ood", "train")
_LAST = ("gradient/norm", "time/train_seconds", "time/measure_seconds")
_SECTION = "section-"
_NOT_VARIED = ("seed", "epochs", "steps", "data.path")


def view_tags(sweep: Sweep) -> dict[str, str]:
    """Returns the tags of the experiment that hold the views. Spectra have one if the sweep measures them."""
    charts = [_chart(key) for key in dict.fromkeys(_keys(sweep))]
    tags = {view_tag(CURVES_VIEW): _text(charts, _groups(sweep))}
    if SPECTRAL_DENSITY in _names(sweep):
        tags[view_tag(SPECTRA_VIEW)] = _text([_images(SPECTRA), *charts], None)
    return tags


def view_tag(view: str) -> str:
    """Returns the key of the tag that holds a view."""
    return f"mlflow.sharedViewState.{view}"


def _text(charts: list[dict[str, Any]], groups: dict[str, Any] | None) -> str:
    """Returns a view as JSON, without the last charts if it would be too long."""
    while len(text := json.dumps(_view(charts, groups), separators=(",", ":"))) > _LONGEST:
        charts = charts[:-1]
    return text


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
    for kind in (BUILT_IN[name] for name in _names(sweep) if name in BUILT_IN):
        keys = (*kind.record_keys, *(quantity.key for quantity in kind.quantities))
        yield from (key for key in keys if "{" not in key and not key.endswith(("_residual", "_error")))


def _names(sweep: Sweep) -> list[str]:
    """The names of the quantities that the trials measure."""
    return list(dict.fromkeys(each.name for trial in sweep.trials for each in trial.measurement.estimators))


def _view(charts: list[dict[str, Any]], groups: dict[str, Any] | None) -> dict[str, Any]:
    sections = list(dict.fromkeys(chart["metricSectionId"] for chart in charts))
    return {
        "searchFilter": f"tags.{KIND} = 'trial'",  # the run of the sweep itself has no curves
        "compareRunSections": [_section(section) for section in sections],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOWALL",
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runListHidden": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "groupBy": groups,
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


def _section(section: str) -> dict[str, Any]:
    return {
        "uuid": section,
        "name": section.removeprefix(_SECTION),
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": 1 if section == _SECTION + SPECTRA else 2,
        "cardHeight": 340,
    }


def _chart(key: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": f"chart-{key}",
        "metricSectionId": _SECTION + key.partition("/")[0],
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


def _images(series: str) -> dict[str, Any]:
    return {
        "type": "IMAGE",
        "uuid": f"images-{series}",
        "metricSectionId": _SECTION + series,
        "imageKeys": [series],
        "step": 0,
        "showRunParams": False,  # the list of all parameters would leave no room for the image
        "deleted": False,
        "isGenerated": False,
    }
