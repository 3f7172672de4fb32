"""From a sweep file's ``trial:``, ``grid:`` and ``sample:`` to its different trials."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from orchestrator.study.config import TrialConfig
from orchestrator.study.overrides import put
from orchestrator.study.sample import SampleConfig, draw
from orchestrator.study.sweep_file_error import ConfigIssue, explain

MOST_COMBINATIONS = 100_000
"""Of a grid and a sample; more take minutes to read and gigabytes to hold, and none of that is training."""


def expand(content: dict[str, Any]) -> tuple[tuple[TrialConfig, ...], list[ConfigIssue]]:
    """The different trials, and what is wrong with the grid and with any trial."""
    base, grid = content.get("trial"), content.get("grid")
    grids: list[Any] = grid if isinstance(grid, list) else [grid]
    problems = _misshapen(grid, grids) if "grid" in content else []
    if too_many := _too_many(content.get("sample"), grids):
        return (), [*problems, too_many]
    sampled, unknown = _drawn(content.get("sample"))
    if not isinstance(base, dict):
        return (), problems
    problems += [
        ConfigIssue(f"sample: {key}", ..., "is varied by the grid too; leave it out of one of them")
        for key in dict.fromkeys(key for grid in grids if isinstance(grid, dict) for key in grid if key in sampled[0])
    ]
    trials: dict[str, TrialConfig] = {}
    for drawn, point in _pairs(sampled, grids):
        trial, more = _trial(base, drawn, point)
        problems += [problem for problem in more if problem.path not in unknown]
        if trial is not None:
            problems += _clash(trials.setdefault(trial.trial_id, trial), trial)
    return tuple(trials.values()), problems


def _too_many(sample: Any, grids: list[Any]) -> ConfigIssue | None:
    """What is wrong with how many trials a file asks for, before any is made."""
    drawn = sample.get("trials") if isinstance(sample, dict) else 1
    points = drawn if isinstance(drawn, int) else 1
    factors = [[len(values) for values in _filled(grid).values()] for grid in grids]
    count = points * sum(math.prod(each) for each in factors)
    if count <= MOST_COMBINATIONS:
        return None
    largest = max(factors, key=math.prod)
    product = " x ".join(f"{factor:,}" for factor in ([points] if points > 1 else []) + largest)
    where, fix = "grid", "leave out values, or draw some by sample:"
    if points > 1:
        where, fix = "sample: trials", "draw fewer"
    return ConfigIssue(
        where, ..., f"asks for {count:,} trials ({product}), expected at most {MOST_COMBINATIONS:,} in a sweep; {fix}"
    )


def _drawn(sample: Any) -> tuple[list[dict[str, Any]], set[str]]:
    """The points of a sample, an empty one where there is none; and the paths that an invalid sample leaves open."""
    if sample is None:
        return [{}], set()
    try:
        return draw(SampleConfig.model_validate(sample)), set()
    except ValidationError:  # explained with the rest of the file
        values = sample.get("values") if isinstance(sample, dict) else None
        return [{}], {f"trial.{key}" for key in (values if isinstance(values, dict) else ())}


def _pairs(sampled: list[dict[str, Any]], grids: list[Any]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    for grid in grids:
        for drawn in sampled:
            for point in _points(grid):
                yield drawn, point


def _trial(
    base: dict[str, Any], drawn: dict[str, Any], point: dict[str, Any]
) -> tuple[TrialConfig | None, list[ConfigIssue]]:
    content = base
    values = {**drawn, **point}
    # Shallow keys first: a whole optimizer must not wipe out the learning rate the grid gives beside it.
    for key in sorted(values, key=lambda key: key.count(".")):
        content = _with(content, key, values[key])
    try:
        return TrialConfig.model_validate(content), []
    except ValidationError as error:
        origins = {**dict.fromkeys(drawn, "sample"), **dict.fromkeys(point, "grid")}
        return None, explain(error, TrialConfig, root="trial", origins=origins)


def _misshapen(grid: object, grids: list[Any]) -> list[ConfigIssue]:
    if not any(grids):
        return [ConfigIssue("grid", grid, "is empty; list values by key, or leave grid out for a single trial")]
    expected = "must be a mapping of keys to lists of values, or a list of such mappings"
    problems = [ConfigIssue("grid", grid, expected) for grid in grids if not isinstance(grid, dict)]
    entries = [entry for grid in grids if isinstance(grid, dict) for entry in grid.items()]
    problems += [ConfigIssue(f"grid: {key}", values, text) for key, values in entries if (text := _unfit(key, values))]
    return problems


def _unfit(key: object, values: object) -> str:
    if not isinstance(key, str):
        return "keys must be text"
    if isinstance(values, dict) and values:
        return f"must be a list of values; a key within is written with dots, {key}.{next(iter(values))}: [...]"
    if not isinstance(values, list):
        return "must be a list of values"
    return "" if values else "is empty; give at least one value"


def _points(grid: Any) -> Iterable[dict[str, Any]]:
    filled = _filled(grid)
    return (dict(zip(filled, values, strict=True)) for values in itertools.product(*filled.values()))


def _filled(grid: Any) -> dict[str, list[Any]]:
    """The values of every key. What is unfit is reported by itself; here it must not hide what is wrong elsewhere."""
    entries = grid.items() if isinstance(grid, dict) else ()
    return {key: _listed(values) for key, values in entries if isinstance(key, str) and _listed(values)}


def _listed(values: object) -> list[Any]:
    if isinstance(values, list):
        return values
    return [] if values is None or isinstance(values, dict) else [values]


def _with(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = dict(content)
    put(changed, key, value)
    return changed


def _clash(first: TrialConfig, second: TrialConfig) -> list[ConfigIssue]:
    """Duplicates are dropped, but not where the file asks for two things that count as one trial."""
    if first == second:
        return []
    ours, theirs = first.flat(), second.flat()
    key = next(key for key in ours if ours[key] != theirs[key])
    hint = "the paths of data do not tell trials apart" if key == "data.path" else "keep the larger one"
    return [ConfigIssue(key, theirs[key], f"and {ours[key]!r} are the same trial ({first.trial_id}): {hint}")]
