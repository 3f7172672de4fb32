"""The prepared view of an experiment: charts by quantity, runs grouped by what the sweep varies."""

import json
from typing import Any

from orchestrator.study.sweep import define_sweep, load_sweep
from orchestrator.tracking.runs.chart_view import CURVES_VIEW, SPECTRA_VIEW, view_tag, view_tags

TRIAL: dict[str, Any] = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 2}


def tags(**content: Any) -> dict[str, str]:
    return view_tags(define_sweep("toy", **{"trial": TRIAL, **content}))


def view(name: str = CURVES_VIEW, **content: Any) -> dict[str, Any]:
    return dict(json.loads(tags(**content)[view_tag(name)]))


def keys(found: dict[str, Any]) -> list[str]:
    return [chart["metricKey"] for chart in found["compareRunCharts"]]


def test_curvature_and_scores_come_first_and_errors_have_no_chart() -> None:
    trial = {**TRIAL, "measurement": {"estimators": ["lanczos", "exact_trace", "stability"]}}
    found = view(trial=trial)
    assert keys(found)[:4] == ["hessian/lambda_max", "hessian/trace", "accuracy/validation", "accuracy/test"]
    assert {"stability/ratio", "stability/sharpness", "hessian/lambda_min", "loss/train"} < set(keys(found))
    assert not [key for key in keys(found) if key.endswith(("residual", "error"))]
    assert len(keys(found)) == len(set(keys(found)))
    sections = {section["uuid"]: section["name"] for section in found["compareRunSections"]}
    assert list(sections.values())[:3] == ["hessian", "accuracy", "loss"]
    assert all(sections[chart["metricSectionId"]] in chart["metricKey"] for chart in found["compareRunCharts"])


def test_only_real_targets_have_r2() -> None:
    assert "r2/test" not in keys(view())
    table = {"name": "table", "dataset": "diabetes"}
    assert "r2/test" in keys(view(trial={**TRIAL, "data": table, "loss": "mse"}))


def test_quantities_that_no_trial_measures_have_no_chart() -> None:
    found = view(trial={**TRIAL, "measurement": {"estimators": ["stability"]}})
    assert "hessian/lambda_max" not in keys(found)


def test_runs_are_averaged_over_seeds_and_grouped_by_what_varies() -> None:
    found = view(grid={"optimizer.lr": [0.1, 0.2], "batch_size": [32, 64], "seed": [0, 1]})
    assert found["groupBy"]["groupByKeys"] == [
        {"mode": "param", "groupByData": "optimizer.lr"},
        {"mode": "param", "groupByData": "batch_size"},
    ]
    assert view(grid={"seed": [0, 1]})["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "model.name"}]


def test_runs_without_other_seeds_are_shown_one_by_one() -> None:
    assert view()["groupBy"] is None
    assert view(grid={"optimizer.lr": [0.1, 0.2]})["groupBy"] is None


def test_the_tag_of_every_shipped_sweep_fits_into_mlflow() -> None:
    for name in ("paper", "optimizers_compared", "quickstart"):
        assert max(map(len, view_tags(load_sweep(name)).values())) <= 20_000
    everything = ["lanczos", "exact_trace", "algorithm1", "top_eigenvalues", "stability", "batch_sharpness", "layers"]
    everything += ["gradient_noise", "gradient_curvature", "gauss_newton", "relative_sharpness", "sam_sharpness"]
    trial = {**TRIAL, "measurement": {"estimators": [*everything, "spectral_density"]}}
    assert max(map(len, tags(trial=trial).values())) <= 20_000
    assert "stability/batch_sharpness" in keys(view(trial=trial))


def test_spectra_have_a_view_that_shows_each_run() -> None:
    assert list(tags()) == [view_tag(CURVES_VIEW)]
    content = {"trial": {**TRIAL, "measurement": {"estimators": ["spectral_density"]}}, "grid": {"seed": [0, 1]}}
    assert view(**content)["groupBy"]
    found = view(SPECTRA_VIEW, **content)
    assert found["groupBy"] is None
    assert found["compareRunSections"][0]["name"] == "spectra"
    images = found["compareRunCharts"][0]
    assert (images["type"], images["imageKeys"], images["showRunParams"]) == ("IMAGE", ["spectra"], False)
    assert images["metricSectionId"] == found["compareRunSections"][0]["uuid"]
