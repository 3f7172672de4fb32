"""What a sweep is: a file that names a list of trials. All its errors are found at once, before anything runs."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from orchestrator.study.config import TrialConfig
from orchestrator.study.expansion import expand
from orchestrator.study.overrides import overridden_name, override, parse_overrides
from orchestrator.study.sample import SampleConfig
from orchestrator.study.sweep_file_error import ConfigIssue, SweepFileError, explain
from orchestrator.study.yaml_file import read_yaml

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
    sample: SampleConfig | None = None
    resources: Resources = Resources()
    keep_checkpoints: str = "last"

    @field_validator("keep_checkpoints")
    @classmethod
    def _all_some_or_last(cls, keep: str) -> str:
        if not re.fullmatch(r"all|last|every [1-9][0-9]*", keep):
            raise ValueError("must be all, last, or 'every K' with a number of epochs, every 10 say")
        return keep


@dataclass(frozen=True)
class Sweep:
    """A named list of different trials."""

    name: str
    description: str
    trials: tuple[TrialConfig, ...]
    resources: Resources
    keep_checkpoints: str = "last"
    """``all``, ``every K`` epochs, or ``last``: those that a trial needs to go on. Never part of its identity."""

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
        """What tells this trial from the others of the sweep: ``cnn sgd lr=0.05 seed=1``.

        Defaults of a model or optimizer go without saying.
        """
        flat, chosen = trial.flat(), trial.chosen()
        told = (key for key in flat if key in self.varied and (key in chosen or f"{_section(key)}.name" not in flat))
        return " ".join(f"{flat[key]}" if key.endswith(".name") else f"{self._short[key]}={flat[key]}" for key in told)

    @cached_property
    def _short(self) -> dict[str, str]:
        """The last part of every varied key, the whole key where another one ends alike."""
        ends = Counter(key.rpartition(".")[2] for key in self.varied)
        return {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in self.varied}

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The dotted names of the fields in which the trials differ.

        Not those that differ because the optimizers or models do, as the momentum of sgd and the betas of adam: the
        names tell that.
        """
        seen: dict[tuple[str, object], set[str]] = {}
        told = [(trial.flat(), trial.chosen()) for trial in self.trials]
        keys = dict.fromkeys(key for flat, _ in told for key in flat)
        names = {key: f"{_section(key)}.name" for key in keys}
        for flat, chosen in told:
            for key in keys:
                kind = flat.get(names[key])
                seen.setdefault((key, kind), set()).add(repr(flat.get(key, ...)))
                if key in chosen:
                    seen.setdefault((key, ...), set()).add(repr(chosen[key]))
        varied = {key for (key, _), values in seen.items() if len(values) > 1}
        return tuple(key for key in keys if key in varied)


def _section(key: str) -> str:
    return key.rpartition(".")[0]


def load_sweep(source: str, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a file, or of that name in ``sweeps/``.

    Args:
        source: a path, or the name of a file in ``sweeps/``.
        overrides: ``a.b=c`` each, put over the file's ``trial:``, and over its ``grid:`` where that varies the key;
            a list then replaces the values there. In any order they make the same other sweep, named
            ``<name>-<digest of the overrides>``.

    Raises:
        SweepFileError: naming every problem of the file.
        ValueError: where there is no such file, it is no YAML, or an override is no ``key=value``.
    """
    path = _find(source)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SweepFileError(path, [ConfigIssue("", content, "must be a mapping with the keys name, trial and grid")])
    content.setdefault("name", path.stem)
    problems = _shared_name(path, content["name"])
    for key, value in sorted(parse_overrides(overrides).items()):
        override(content, key, value)
    file = SweepFile(name="invalid", trial={})
    try:
        file = SweepFile.model_validate(content)
    except ValidationError as error:
        problems += explain(error, SweepFile)
    trials, more = expand(content)
    if problems + more:
        raise SweepFileError(path, list(dict.fromkeys(problems + more)))
    return Sweep(overridden_name(file.name, overrides), file.description, trials, file.resources, file.keep_checkpoints)


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


def _shared_name(path: Path, name: object) -> list[ConfigIssue]:
    """Two files of one name would take each other's list of trials for their own."""
    for sibling in sorted(path.parent.glob("*.y*ml")):
        if sibling.resolve() == path.resolve():
            continue
        try:
            other = read_yaml(sibling)
        except ValueError:  # what is wrong with another file is said when that one is loaded
            continue
        if isinstance(other, dict) and other.get("name", sibling.stem) == name:
            return [ConfigIssue("name", name, f"is also the name in {sibling}; every sweep needs its own")]
    return []
