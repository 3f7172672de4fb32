"""Names of runs and descriptions of what a sweep varies. Names are short, because MLflow's list of runs is narrow."""

from collections import Counter
from collections.abc import Collection
from typing import Any

from orchestrator.counted import counted
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Sweep

_SYMBOLS = {"batch_size": "b", "seed": "s"}
"""Settings that a name shows as a letter before a number: ``b64 s0``."""
_LENGTHS = ("epochs", "steps", "record_every")
_LONGEST_VALUE = 24
_LONGEST = 100
_MOST_VALUES = 8


def run_names(sweep: Sweep) -> dict[str, str]:
    """Returns a name for each trial, by id: the values of what the sweep varies, as in ``sgd lr 0.05 b64 s0``.

    Names of a sweep are unique. Lengths of trials and intervals between records are left out if names are unique
    without them. If names of trials would be equal, their ids are appended.
    """
    for omitted in (_LENGTHS, ()):
        names = {trial_id: _name(sweep, config, omitted) for trial_id, config in sweep.by_id.items()}
        if len(set(names.values())) == len(names):
            return names
    found = Counter(names.values())
    return {trial_id: name if found[name] == 1 else f"{name} {trial_id}" for trial_id, name in names.items()}


def description(sweep: Sweep) -> str:
    """Returns the description of a sweep and the values of each setting that it varies, in Markdown."""
    lines = [f"- `{key}`: {_values(sweep, key)}" for key in sweep.varied]
    varied = [f"{counted(len(sweep.trials), 'trial')}, which differ in:", "", *lines] if lines else ["One trial."]
    return "\n".join([sweep.description, "", *varied] if sweep.description else varied)


def trial_description(sweep: Sweep, config: TrialConfig) -> str:
    """Returns the settings that distinguish a trial, and the command that reruns it, in Markdown."""
    settings = ", ".join(f"`{key}` {_text(value)}" for key, value in sweep.settings(config).items())
    return (
        f"Trial `{config.trial_id}` of sweep {sweep.name}{': ' if settings else ''}{settings}.\n\n"
        f"Rerun: `hessian-dynamics trial {sweep.name} {config.trial_id}`"
    )


def _name(sweep: Sweep, config: TrialConfig, omitted: Collection[str]) -> str:
    settings = {key: value for key, value in sweep.settings(config).items() if key not in omitted}
    parts = [_part(sweep.short[key], key, value) for key, value in settings.items()]
    name = " ".join(parts) or " ".join(map(_cut, (config.model.name, config.data.name, config.optimizer.name)))
    return name[:_LONGEST]


def _part(short: str, key: str, value: Any) -> str:
    if short in _SYMBOLS and isinstance(value, int):
        return f"{_SYMBOLS[short]}{value}"
    text = _cut(f"{value:.4g}" if isinstance(value, float) else _text(value))
    return text if key.endswith(".name") else f"{short} {text}"


def _cut(text: str) -> str:
    """Returns at most `_LONGEST_VALUE` characters of a value; of ``my_package.nets:Net`` only the end."""
    text = text.rpartition(":")[2]
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _values(sweep: Sweep, key: str) -> str:
    """Returns the values of a setting, or how many there are and the range of numbers."""
    found = [flat[key] for config in sweep.trials if key in (flat := config.flat())]
    values = list({repr(value): value for value in found}.values())
    if len(values) <= _MOST_VALUES:
        return ", ".join(map(_text, values))
    numbers = [value for value in values if isinstance(value, int | float)]
    every = len(numbers) == len(values)
    return f"{len(values)} values" + (f" from {min(numbers):g} to {max(numbers):g}" if every else "")


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
