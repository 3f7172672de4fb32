"""What a sweep is: a file that names a list of trials. All its errors are found at once, before anything runs."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.study.config import TrialConfig
from orchestrator.study.problems import Problem, SweepError, explain
from orchestrator.study.yaml_file import parse_value, read_yaml

SWEEPS = "sweeps"
"""The folder in which a sweep is found by its bare name: in the current directory, else as installed."""


class Resources(BaseModel):
    """What one trial occupies. Never part of its identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    cpu: Annotated[int, Field(ge=1)] = 1
    gpu: Annotated[float, Field(ge=0)] = 0.0


class SweepFile(BaseModel):
    """The shape of a sweep file; `load_sweep` expands it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    # Becomes a folder and a file name: nothing here may climb out of the storage.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    description: str = ""
    trial: dict[Any, Any]
    grid: Any = None
    """Lists of values by dotted key, or a list of such mappings; `_misshapen` says what is wrong with it."""
    resources: Resources = Resources()
    keep_checkpoints: Annotated[str, Field(pattern=r"^(all|last|every [1-9][0-9]*)$")] = "last"


@dataclass(frozen=True)
class Sweep:
    """A named list of different trials."""

    name: str
    description: str
    trials: tuple[TrialConfig, ...]
    resources: Resources
    keep_checkpoints: str = "last"
    """``all``, ``every K`` epochs, or ``last``: the two that a trial needs to go on. Never part of a trial's identity."""

    def keeps(self, epoch: int) -> bool:
        """Whether the checkpoint of an epoch stays when the trial has gone on."""
        if self.keep_checkpoints.startswith("every "):
            return epoch % int(self.keep_checkpoints.removeprefix("every ")) == 0
        return self.keep_checkpoints == "all"

    @cached_property
    def by_id(self) -> dict[str, TrialConfig]:
        """The trials in the order of the file."""
        return {trial.trial_id: trial for trial in self.trials}

    def find(self, prefix: str) -> TrialConfig:
        """The one trial whose id begins with `prefix`.

        Raises:
            ValueError: where none or several do.
        """
        matches = [trial for trial_id, trial in self.by_id.items() if trial_id.startswith(prefix)]
        if prefix and len(matches) == 1:
            return matches[0]
        found = f"matches {len(matches)} trials" if matches else "matches no trial"
        listed = "\n  ".join(f"{t.trial_id}  {self.label(t)}" for t in matches or self.trials)
        raise ValueError(f"{prefix!r} {found} of sweep {self.name!r}; give enough of one id:\n  {listed}")

    def label(self, trial: TrialConfig) -> str:
        """What tells this trial from the others of the sweep: ``optimizer.lr=0.05 seed=1``."""
        return " ".join(f"{key}={value}" for key, value in trial.flat().items() if key in self.varied)

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The dotted names of the fields in which the trials differ."""
        flats = [trial.flat() for trial in self.trials]
        keys = dict.fromkeys(key for flat in flats for key in flat)
        return tuple(key for key in keys if len({repr(flat.get(key)) for flat in flats}) > 1)


def load_sweep(source: str, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a file, or of that name in ``sweeps/``.

    Args:
        source: a path, or the name of a file in ``sweeps/``.
        overrides: ``a.b=c`` each, put over the file's ``trial:``, and over its ``grid:`` where that varies the key;
            a list then replaces the values there. In any order they make the same other sweep, named
            ``<name>-<digest of the overrides>``.

    Raises:
        SweepError: naming every problem of the file.
        ValueError: where there is no such file, it is no YAML, or an override is no ``key=value``.
    """
    path = _find(source)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SweepError(path, [Problem("", content, "must be a mapping with the keys name, trial and grid")])
    content.setdefault("name", path.stem)
    problems = _shared_name(path, content["name"])
    for key, value in sorted(_parsed(overrides).items()):
        _override(content, key, value)
    file = SweepFile(name="invalid", trial={})
    try:
        file = SweepFile.model_validate(content)
    except ValidationError as error:
        problems += explain(error, SweepFile)
    trials, more = _expand(content.get("trial"), content.get("grid"), given="grid" in content)
    if problems + more:
        raise SweepError(path, list(dict.fromkeys(problems + more)))
    return Sweep(_name(file.name, overrides), file.description, trials, file.resources, file.keep_checkpoints)


def _find(source: str) -> Path:
    if source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
        if path.is_file():
            return path
        raise ValueError(f"sweep file {source!r} does not exist")
    folders = [Path(SWEEPS), Path(__file__).parents[2] / SWEEPS]
    for folder in folders:
        if (path := folder / f"{source}.yaml").is_file():
            return path
    names = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise ValueError(f"no sweep is named {source!r}; give a path to a .yaml file or one of: {', '.join(names)}")


def _shared_name(path: Path, name: object) -> list[Problem]:
    """Two files of one name would take each other's list of trials for their own."""
    for sibling in sorted(path.parent.glob("*.y*ml")):
        if sibling.resolve() == path.resolve():
            continue
        try:
            other = read_yaml(sibling)
        except ValueError:  # what is wrong with another file is said when that one is loaded
            continue
        if isinstance(other, dict) and other.get("name", sibling.stem) == name:
            return [Problem("name", name, f"is also the name in {sibling}; every sweep needs its own")]
    return []


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ValueError(f"--set {override!r}: expected key=value, for example --set optimizer.lr=0.1")
        if key in parsed:
            raise ValueError(f"--set {override!r}: {key} is set twice; say which value is meant")
        parsed[key] = parse_value(text)
    return parsed


def _override(content: dict[str, Any], key: str, value: Any) -> None:
    if key.partition(".")[0] == "resources":
        _put(content, key, value)
        return
    grids = content.get("grid")
    grids = [grid for grid in (grids if isinstance(grids, list) else [grids]) if isinstance(grid, dict)]
    varied = [grid for grid in grids if any(f"{key}.".startswith(f"{given}.") for given in grid)]
    # A list holds for all trials: for those too whose own grid does not vary the key.
    for grid in grids if varied and isinstance(value, list) else varied:
        grid[key] = value if isinstance(value, list) else [value]
    if isinstance(content.get("trial"), dict) and not (varied and isinstance(value, list)):
        _put(content["trial"], key, value)


def _put(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        child = content.get(parent)
        content[parent] = content = dict(child) if isinstance(child, dict) else {}
    content[last] = value


def _name(name: str, overrides: Sequence[str]) -> str:
    if not overrides:
        return name
    return f"{name}-{hashlib.sha256(chr(10).join(sorted(overrides)).encode()).hexdigest()[:6]}"


def _expand(base: object, grid: object, given: bool) -> tuple[tuple[TrialConfig, ...], list[Problem]]:
    """The different trials, and what is wrong with the grid and with any trial."""
    grids: list[Any] = grid if isinstance(grid, list) else [grid]
    problems = _misshapen(grid, grids) if given else []
    if not isinstance(base, dict):
        return (), problems
    trials: dict[str, TrialConfig] = {}
    for point in itertools.chain.from_iterable(map(_points, grids)):
        content = base
        # Shallow keys first: a whole optimizer must not wipe out the learning rate the grid gives beside it.
        for key in sorted(point, key=lambda key: key.count(".")):
            content = _with(content, key, point[key])
        try:
            trial = TrialConfig.model_validate(content)
        except ValidationError as error:
            problems += explain(error, TrialConfig, root="trial", grid=frozenset(point))
            continue
        problems += _clash(trials.setdefault(trial.trial_id, trial), trial)
    return tuple(trials.values()), problems


def _misshapen(grid: object, grids: list[Any]) -> list[Problem]:
    if not any(grids):
        return [Problem("grid", grid, "is empty; list values by key, or leave grid out for a single trial")]
    expected = "must be a mapping of keys to lists of values, or a list of such mappings"
    problems = [Problem("grid", grid, expected) for grid in grids if not isinstance(grid, dict)]
    entries = [entry for grid in grids if isinstance(grid, dict) for entry in grid.items()]
    problems += [Problem(f"grid: {key}", values, text) for key, values in entries if (text := _unfit(key, values))]
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
    entries = grid.items() if isinstance(grid, dict) else ()
    # What is unfit is reported by itself; here it must not hide what is wrong with the other keys.
    filled = {key: _listed(values) for key, values in entries if isinstance(key, str) and _listed(values)}
    return (dict(zip(filled, values, strict=True)) for values in itertools.product(*filled.values()))


def _listed(values: object) -> list[Any]:
    if isinstance(values, list):
        return values
    return [] if values is None or isinstance(values, dict) else [values]


def _with(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = dict(content)
    _put(changed, key, value)
    return changed


def _clash(first: TrialConfig, second: TrialConfig) -> list[Problem]:
    """Duplicates are dropped, but not where the file asks for two things that count as one trial."""
    if first == second:
        return []
    ours, theirs = first.flat(), second.flat()
    key = next(key for key in ours if ours[key] != theirs[key])
    hint = "the paths of data do not tell trials apart" if key == "data.path" else "keep the larger one"
    return [Problem(key, theirs[key], f"and {ours[key]!r} are the same trial ({first.trial_id}): {hint}")]
