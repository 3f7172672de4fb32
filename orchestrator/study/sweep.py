"""What a sweep is: a file that names a list of trials. All its errors are found at once, before anything runs."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    trial: dict[str, Any]
    grid: dict[str, list[Any]] | list[dict[str, list[Any]]] = [{}]
    resources: Resources = Resources()


@dataclass(frozen=True)
class Sweep:
    """A named list of different trials."""

    name: str
    description: str
    trials: tuple[TrialConfig, ...]
    resources: Resources

    @property
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

    @property
    def varied(self) -> tuple[str, ...]:
        """The dotted names of the fields in which the trials differ."""
        flats = [trial.flat() for trial in self.trials]
        keys = dict.fromkeys(key for flat in flats for key in flat)
        return tuple(key for key in keys if len({repr(flat.get(key)) for flat in flats}) > 1)


def load_sweep(source: str, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a file, or of that name in ``sweeps/``.

    Args:
        source: a path, or the name of a file in ``sweeps/``.
        overrides: ``a.b=c`` each, put over the file's ``trial:`` (a ``grid.`` key is put over the grid). They make
            another sweep, named ``<name>-<digest of the overrides>``.

    Raises:
        SweepError: naming every problem of the file.
    """
    path = _find(source)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SweepError(path, [Problem("", content, "must be a mapping with the keys name, trial and grid")])
    content.setdefault("name", path.stem)
    _refuse_shared_name(path, content["name"])
    for override in overrides:
        _override(content, override)
    problems: list[Problem] = []
    file = SweepFile(name="invalid", trial={})
    try:
        file = SweepFile.model_validate(content)
    except ValidationError as error:
        problems += explain(error, SweepFile)
    trials, more = _expand(content.get("trial"), content.get("grid", {}), given="grid" in content)
    if problems + more:
        raise SweepError(path, list(dict.fromkeys(problems + more)))
    return Sweep(_name(file.name, overrides), file.description, trials, file.resources)


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


def _refuse_shared_name(path: Path, name: object) -> None:
    """Two files of one name would take each other's list of trials for their own."""
    for sibling in sorted(path.parent.glob("*.yaml")):
        if sibling.resolve() == path.resolve():
            continue
        try:
            other = read_yaml(sibling)
        except ValueError:  # what is wrong with another file is said when that one is loaded
            continue
        if isinstance(other, dict) and other.get("name", sibling.stem) == name:
            raise SweepError(path, [Problem("name", name, f"is also the name in {sibling}; every sweep needs its own")])


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ValueError(f"--set {override!r}: expected key=value, for example --set optimizer.lr=0.1")
    value = parse_value(text)
    if key.startswith("resources."):
        _put(content, key, value)
        return
    grids = content.get("grid") or {}
    grids = grids if isinstance(grids, list) else [grids]
    varied = [grid for grid in grids if isinstance(grid, dict) and key in grid]
    for grid in varied:
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
    """The different trials, and what is wrong with any; nothing of either where the file's shape is wrong already."""
    grids: list[Any] = grid if isinstance(grid, list) else [grid]
    well_formed = all(isinstance(g, dict) and all(isinstance(values, list) for values in g.values()) for g in grids)
    if not isinstance(base, dict) or not well_formed:
        return (), []
    problems = _empty(grid, grids) if given else []
    trials: dict[str, TrialConfig] = {}
    for point in itertools.chain.from_iterable(map(_points, grids)):
        content = base
        for key, value in point.items():
            content = _with(content, key, value)
        try:
            trial = TrialConfig.model_validate(content)
        except ValidationError as error:
            problems += explain(error, TrialConfig, root="trial", grid=frozenset(point))
            continue
        problems += _clash(trials.setdefault(trial.trial_id, trial), trial)
    return tuple(trials.values()), problems


def _empty(grid: object, grids: list[dict[str, list[Any]]]) -> list[Problem]:
    if not any(grids):
        return [Problem("grid", grid, "is empty; list values by key, or leave grid out for a single trial")]
    return [
        Problem(f"grid: {key}", values, "is empty; give at least one value")
        for grid in grids
        for key, values in grid.items()
        if not values
    ]


def _points(grid: dict[str, list[Any]]) -> Iterable[dict[str, Any]]:
    # An empty list is reported by itself; here it must not hide what is wrong with the other keys.
    filled = {key: values for key, values in grid.items() if values}
    return (dict(zip(filled, values, strict=True)) for values in itertools.product(*filled.values()))


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
