"""A sweep is a named list of trials, read from a file. All issues of a file are reported together."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from orchestrator.counted import counted
from orchestrator.study.config import TrialConfig
from orchestrator.study.expansion import expand
from orchestrator.study.expectations.check import expectation_issues
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.overrides import overridden_name, override, override_texts, parse_overrides
from orchestrator.study.parts.fields import Config, PositiveFloat, PositiveInt
from orchestrator.study.sample import SampleConfig
from orchestrator.study.sweep_file_error import ConfigIssue, SweepFileError, explain
from orchestrator.study.yaml_file import read_yaml

SWEEPS = "sweeps"
"""The folder with named sweeps. The one in the working directory is searched first, then the installed one."""
_KEEP = r"all|last|every [1-9][0-9]*"


_MOST_SHOWN = 20
"""Maximum number of trials in the text of a sweep."""


class Resources(Config):
    """The resources of one trial. They are not part of the trial id."""

    cpu: PositiveInt = 1
    gpu: Annotated[float | Literal["auto"], Field(json_schema_extra={"minimum": 0})] = 0.0
    """GPUs per trial; a fraction shares a GPU. ``auto``: 1 / ``trials_per_gpu`` if the driver finds any GPU, otherwise
    none (`placement`)."""
    trials_per_gpu: PositiveInt = 8
    """Trials that share a GPU if ``gpu`` is ``auto``. Other values of ``gpu`` ignore it."""
    memory_gib: PositiveFloat | None = None
    """Memory of one trial in GiB. At most as many trials run at a time as fit into the memory of each node. Without it
    memory is not considered."""

    @field_validator("gpu", mode="before")
    @classmethod
    def _share_or_auto(cls, gpu: object) -> object:
        share = isinstance(gpu, int | float) and not isinstance(gpu, bool) and 0 <= gpu < math.inf
        if not share and gpu != "auto":
            raise ValueError("must be a number of at least 0, or auto")
        return gpu

    @property
    def gpu_share(self) -> float:
        """GPUs per trial, once ``auto`` is resolved.

        Raises:
            ValueError: ``auto`` is not resolved.
        """
        if self.gpu == "auto":
            raise ValueError("gpu: auto is not resolved; use orchestrator.scheduling.placement.on_this_machine")
        return self.gpu


class SweepFile(Config):
    """The format of a sweep file. `load_sweep` expands it into a `Sweep`."""

    # The name becomes part of paths, which must not lead outside the storage.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    description: str = ""
    trial: dict[Any, Any]
    """The settings that every trial starts from; `expand` validates each trial with its own values."""
    grid: Any = None
    """Lists of values by dotted key, or a list of such mappings; validated by `expand`."""
    sample: SampleConfig | None = None
    resources: Resources = Resources()
    keep_checkpoints: Annotated[str, Field(json_schema_extra={"pattern": f"^({_KEEP})$"})] = "last"
    """The checkpoints that are kept: ``all``, ``every K`` (records), or ``last`` (only those needed to resume)."""
    expect: Annotated[tuple[Expectation, ...], Field(strict=False)] = ()
    """What the results should be. The report and the command `check` judge them by it."""

    @field_validator("keep_checkpoints")
    @classmethod
    def _all_some_or_last(cls, keep: str) -> str:
        if not re.fullmatch(_KEEP, keep):
            raise ValueError("must be all, last, or 'every K' with a number of records, for example every 10")
        return keep


@dataclass(frozen=True, repr=False)
class Sweep:
    """A named list of distinct trials."""

    name: str
    description: str
    trials: tuple[TrialConfig, ...]
    resources: Resources
    keep_checkpoints: str = "last"
    """``all``, ``every K`` (records), or ``last`` (only those needed to resume). Trial ids do not depend on it."""
    expect: tuple[Expectation, ...] = ()
    """What the results are judged by. Trial ids do not depend on it."""

    def __repr__(self) -> str:
        """Returns a table of the trials: ``sweep quickstart: 12 trials``, then one line per trial."""
        lines = [f"sweep {self.name}: {counted(len(self.trials), 'trial')}"]
        lines += [f"  {trial_id}  {self.label(trial)}" for trial_id, trial in list(self.by_id.items())[:_MOST_SHOWN]]
        rest = len(self.trials) - _MOST_SHOWN
        return "\n".join([*lines, f"  ... and {rest} more"] if rest > 0 else lines)

    def keeps(self, number: int) -> bool:
        """Whether the checkpoint of a record is kept after later records are committed."""
        if self.keep_checkpoints.startswith("every "):
            return number % int(self.keep_checkpoints.removeprefix("every ")) == 0
        return self.keep_checkpoints == "all"

    @property
    def unit(self) -> str:
        """The noun for a record in messages: ``epoch`` if all trials have one record per epoch, else ``record``."""
        return "epoch" if all(trial.cadence.default for trial in self.trials) else "record"

    @cached_property
    def by_id(self) -> dict[str, TrialConfig]:
        """The trials in the order of the file."""
        return {trial.trial_id: trial for trial in self.trials}

    def find(self, prefix: str) -> TrialConfig:
        """The only trial whose id begins with `prefix`.

        Raises:
            ValueError: no trial matches (the message lists all trials), or several do (the message lists those).
        """
        matches = [trial for trial_id, trial in self.by_id.items() if trial_id.startswith(prefix)]
        if prefix and len(matches) == 1:
            return matches[0]
        found = f"{len(matches)} trials" if matches else "no trial"
        listed = "\n  ".join(f"{t.trial_id}  {self.label(t)}" for t in matches or self.trials)
        raise ValueError(f"id {prefix!r} matches {found} of sweep {self.name!r}; expected one of:\n  {listed}")

    def label(self, trial: TrialConfig) -> str:
        """The values of the fields that vary in the sweep: ``cnn sgd lr=0.05 seed=1``."""
        found = self.settings(trial).items()
        return " ".join(f"{value}" if key.endswith(".name") else f"{self.short[key]}={value}" for key, value in found)

    def settings(self, trial: TrialConfig) -> dict[str, Any]:
        """The values of the fields that vary in the sweep, by dotted name.

        Defaults of a model, optimizer, schedule or data set are left out.
        """
        flat, chosen = trial.flat(), trial.chosen()
        keys = (key for key in flat if key in self.varied and (key in chosen or f"{_section(key)}.name" not in flat))
        return {key: flat[key] for key in keys}

    @cached_property
    def short(self) -> dict[str, str]:
        """Maps varied keys to their last component, or to the whole key if the last component is ambiguous."""
        ends = Counter(key.rpartition(".")[2] for key in self.varied)
        return {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in self.varied}

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The dotted names of the fields in which the trials differ.

        A field of only one optimizer or model, such as `nesterov` of sgd, is included only if it differs between the
        trials with this optimizer or model. Otherwise the name distinguishes them from all other trials.
        """
        seen: dict[tuple[str, object], set[str]] = {}
        trials = [(trial.flat(), trial.chosen()) for trial in self.trials]
        keys = dict.fromkeys(key for flat, _ in trials for key in flat)
        names = {key: f"{_section(key)}.name" for key in keys}
        for flat, chosen in trials:
            for key in keys:
                kind = flat.get(names[key])
                seen.setdefault((key, kind), set()).add(repr(flat.get(key, ...)))
                if key in chosen:
                    seen.setdefault((key, ...), set()).add(repr(chosen[key]))
        varied = {key for (key, _), values in seen.items() if len(values) > 1}
        return tuple(key for key in keys if key in varied)


def _section(key: str) -> str:
    return key.rpartition(".")[0]


def load_sweep(
    source: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    stored: Callable[[str], bool] = lambda name: False,
) -> Sweep:
    """Loads a sweep from a file.

    Args:
        source: a path, or the name of a file in ``sweeps/``.
        overrides: strings ``key=value`` with a dotted key, or a mapping. Each replaces the value of the key in
            ``trial:``. If ``grid:`` varies the key, the value or list of values also replaces those in ``grid:``.
            Overrides of trials define a separate sweep named ``<name>-<digest of the overrides>``; their order does not
            matter.
        stored: returns whether the storage holds a sweep of this name; see `overridden_name`.

    Raises:
        SweepFileError: the file is invalid; the message lists every issue.
        ValueError: the file does not exist or is not YAML, or an override is not ``key=value``.
    """
    path = _find(source)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SweepFileError(path, [ConfigIssue("", content, "must be a mapping with the keys name, trial and grid")])
    content.setdefault("name", path.stem)
    issues = _shared_name(path, content["name"])
    overrides = override_texts(overrides) if isinstance(overrides, Mapping) else overrides
    for key, value in sorted(parse_overrides(overrides).items()):
        override(content, key, value)
    sweep = _sweep_of(content, path, issues)
    return replace(sweep, name=overridden_name(sweep.name, overrides, stored))


def define_sweep(name: str, *, trial: Mapping[str, Any], grid: Any = None, **more: Any) -> Sweep:
    """Defines a sweep without a file. It is validated like a file and has the same trial ids.

    Args:
        name: the name of the sweep in the storage and in MLflow.
        trial: the settings that every trial starts from.
        grid: lists of values by dotted key, or a list of such mappings; None for a single trial.
        more: other keys of sweep files: ``description``, ``sample``, ``resources``, ``keep_checkpoints``, ``expect``.

    Raises:
        SweepFileError: the content is invalid; the message lists every issue.
    """
    content: dict[str, Any] = {"name": name, "trial": dict(trial), **more}
    if grid is not None:
        content["grid"] = grid
    return _sweep_of(content, f"sweep {name!r}", [])


def _sweep_of(content: dict[str, Any], source: Path | str, issues: list[ConfigIssue]) -> Sweep:
    """Validates the content of a sweep file. `issues` were found before."""
    file = SweepFile(name="invalid", trial={})
    try:
        file = SweepFile.model_validate(content)
    except ValidationError as error:
        issues += explain(error, SweepFile)
    trials, more = expand(content)
    issues += more or expectation_issues(file.expect, trials)
    if issues:
        raise SweepFileError(source, issues)
    return Sweep(file.name, file.description, trials, file.resources, file.keep_checkpoints, file.expect)


def sweep_file(source: str) -> Path | None:
    """Returns the file at a path, or the file of a named sweep in ``sweeps/``; None if it does not exist."""
    paths = [Path(source)] if _is_path(source) else [folder / f"{source}.yaml" for folder in _folders()]
    return next((path for path in paths if path.is_file()), None)


def _find(source: str) -> Path:
    if found := sweep_file(source):
        return found
    if _is_path(source):
        raise ValueError(f"sweep file {source!r} does not exist; check the path, or give the name of a sweep")
    names = sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})
    raise ValueError(f"no sweep is named {source!r}; give a path to a .yaml file or one of: {', '.join(names)}")


def _is_path(source: str) -> bool:
    return source.endswith((".yaml", ".yml")) or "/" in source


def _folders() -> list[Path]:
    return [Path(SWEEPS), Path(__file__).parents[2] / SWEEPS]


def _shared_name(path: Path, name: object) -> list[ConfigIssue]:
    """Returns an issue if another file has the same name. The two sweeps would share one manifest."""
    for sibling in sorted(path.parent.glob("*.y*ml")):
        if sibling.resolve() == path.resolve():
            continue
        try:
            other = read_yaml(sibling)
        except ValueError:  # reported when that file is loaded
            continue
        if isinstance(other, dict) and other.get("name", sibling.stem) == name:
            return [ConfigIssue("name", name, f"is also the name in {sibling}; give every sweep its own name")]
    return []
