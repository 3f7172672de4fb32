"""Expansion of ``trial:``, ``grid:`` and ``sample:`` in a sweep file into distinct trials."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.study.config import TrialConfig
from orchestrator.study.overrides import put
from orchestrator.study.sample import SampleConfig, draw
from orchestrator.study.sweep_file_error import ConfigIssue, explain

MOST_COMBINATIONS = 100_000
"""Maximum number of trials in a sweep. Loading more would take minutes and gigabytes of memory."""


def expand(content: dict[str, Any]) -> tuple[tuple[TrialConfig, ...], list[ConfigIssue]]:
    """Returns the distinct trials, and the issues of the grid and of all trials."""
    base, grid = content.get("trial"), content.get("grid")
    grids: list[Any] = grid if isinstance(grid, list) else [grid]
    issues = _grid_issues(grid, grids) if "grid" in content else []
    if too_many := _too_many(content.get("sample"), grids):
        return (), [*issues, too_many]
    points, unknown = _draw_points(content.get("sample"))
    if not isinstance(base, dict):
        return (), issues
    keys = (key for grid in grids if isinstance(grid, dict) for key in grid if key in points[0])
    issues += [ConfigIssue(f"sample: {key}", ..., "is also in the grid; remove it from one of them") for key in keys]
    trials: dict[str, TrialConfig] = {}
    for drawn, varied in ((drawn, varied) for grid in grids for drawn in points for varied in _points(grid)):
        trial, more = _trial(base, drawn, varied)
        issues += [issue for issue in more if issue.path not in unknown]
        if trial is not None:
            issues += _clash(trials.setdefault(trial.trial_id, trial), trial)
    return tuple(trials.values()), issues


def _too_many(sample: Any, grids: list[Any]) -> ConfigIssue | None:
    """Returns an issue if the file asks for too many trials. This is checked before any trial is created."""
    drawn = sample.get("trials") if isinstance(sample, dict) else 1
    points = drawn if isinstance(drawn, int) else 1
    factors = [[len(values) for values in _valid_entries(grid).values()] for grid in grids]
    count = points * sum(math.prod(each) for each in factors)
    if count <= MOST_COMBINATIONS:
        return None
    largest = max(factors, key=math.prod)
    product = " x ".join(f"{factor:,}" for factor in ([points] if points > 1 else []) + largest)
    path, fix = ("sample: trials", "draw fewer") if points > 1 else ("grid", "remove values, or draw some by sample:")
    return ConfigIssue(
        path, ..., f"asks for {count:,} trials ({product}), expected at most {MOST_COMBINATIONS:,}; {fix}"
    )


def _draw_points(sample: Any) -> tuple[list[dict[str, Any]], set[str]]:
    """Returns the drawn points, or one empty point if there is no sample.

    If the sample is invalid, also returns the paths that lack a value as a result. Their issues are not reported.
    """
    if sample is None:
        return [{}], set()
    try:
        return draw(SampleConfig.model_validate(sample)), set()
    except ValidationError:  # reported when the whole file is validated
        values = sample.get("values") if isinstance(sample, dict) else None
        return [{}], {f"trial.{key}" for key in (values if isinstance(values, dict) else ())}


def _trial(
    base: dict[str, Any], drawn: dict[str, Any], point: dict[str, Any]
) -> tuple[TrialConfig | None, list[ConfigIssue]]:
    content, values = dict(base), {**drawn, **point}
    # Short keys come first, so that a varied `optimizer` does not overwrite a varied `optimizer.lr`.
    for key in sorted(values, key=lambda key: key.count(".")):
        put(content, key, values[key])
    try:
        return TrialConfig.model_validate(content), []
    except ValidationError as error:
        origins = {**dict.fromkeys(drawn, "sample"), **dict.fromkeys(point, "grid")}
        return None, explain(error, TrialConfig, root="trial", origins=origins)


def _grid_issues(grid: object, grids: list[Any]) -> list[ConfigIssue]:
    if not any(grids):
        return [ConfigIssue("grid", grid, "is empty; list values by key, or remove grid for a single trial")]
    expected = "must be a mapping of keys to lists of values, or a list of such mappings"
    issues = [ConfigIssue("grid", grid, expected) for grid in grids if not isinstance(grid, dict)]
    entries = [entry for grid in grids if isinstance(grid, dict) for entry in grid.items()]
    return issues + [
        ConfigIssue(f"grid: {key}", values, text) for key, values in entries if (text := _entry_error(key, values))
    ]


def _entry_error(key: object, values: object) -> str:
    """The error message for an entry of a grid; empty if the entry is valid."""
    if not isinstance(key, str):
        return "keys must be text"
    if isinstance(values, dict) and values:
        return f"must be a list of values; write a nested key with dots: {key}.{next(iter(values))}: [...]"
    if not isinstance(values, list):
        return "must be a list of values"
    return "" if values else "is empty; give at least one value"


def _points(grid: Any) -> Iterator[dict[str, Any]]:
    filled = _valid_entries(grid)
    return (dict(zip(filled, values, strict=True)) for values in itertools.product(*filled.values()))


def _valid_entries(grid: Any) -> dict[str, list[Any]]:
    """Maps each key to its values. Skips or repairs invalid entries, which `_grid_issues` reports."""
    entries = grid.items() if isinstance(grid, dict) else ()
    return {key: _as_list(values) for key, values in entries if isinstance(key, str) and _as_list(values)}


def _as_list(values: object) -> list[Any]:
    if isinstance(values, list):
        return values
    return [] if values is None or isinstance(values, dict) else [values]


def _clash(first: TrialConfig, second: TrialConfig) -> list[ConfigIssue]:
    """Returns an issue if two different configs have the same trial id. Equal configs are merged without an issue."""
    if first == second:
        return []
    ours, theirs = first.flat(), second.flat()
    key = next(key for key in ours if ours[key] != theirs[key])
    fix = "the path of the data is not part of a trial; keep one" if key == "data.path" else "keep the larger one"
    return [ConfigIssue(key, theirs[key], f"gives the same trial ({first.trial_id}) as {ours[key]!r}; {fix}")]
