"""What is to be measured otherwise than in training: read from ``--set``, checked, and made a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from orchestrator.study.config import Estimator, MeasurementConfig
from orchestrator.study.sweep import Sweep
from orchestrator.study.sweep_file_error import ConfigIssue, SweepFileError, explain
from orchestrator.study.yaml_file import parse_value

_SECTION = "measurement"
_EXAMPLE = "for example --set measurement.fraction=0.5"
_EVERY = "algorithm1_every"


@dataclass(frozen=True)
class MeasurementChange:
    """Values for fields of a measurement, in the fields' order."""

    settings: tuple[tuple[str, Any], ...]

    def apply(self, measurement: MeasurementConfig) -> MeasurementConfig:
        """A trial's measurement, changed. Every measured epoch gets every estimator."""
        return self._changed(measurement).model_copy(update={_EVERY: 1})

    def changes(self, measurement: MeasurementConfig) -> bool:
        """Whether anything would be measured otherwise than it was."""
        return _effective(self._changed(measurement)) != _effective(measurement)

    @property
    def label(self) -> str:
        """``fraction-0.5_lanczos_products-20``: the first part of the new keys, and a folder in the store."""
        return "_".join(f"{name}-{_text(value)}" for name, value in self.settings)

    def _changed(self, measurement: MeasurementConfig) -> MeasurementConfig:
        return MeasurementConfig.model_validate({**measurement.model_dump(), **dict(self.settings)})


def read_change(overrides: Sequence[str], sweep: Sweep) -> MeasurementChange:
    """What ``--set`` changes in the measurement of a sweep's trials.

    The order of the settings decides nothing, and what changes no trial is left out: one way to measure has one label.

    Raises:
        SweepFileError: naming every setting that cannot be.
        ValueError: where a setting is no ``measurement.KEY=VALUE``, or all together change nothing.
    """
    settings = _parsed(overrides)
    measurements = list(dict.fromkeys(trial.measurement for trial in sweep.trials))
    checked = _checked(settings, measurements)
    change = MeasurementChange(
        tuple((name, value) for name, value in checked if any(getattr(m, name) != value for m in measurements))
    )
    if not any(change.changes(measurement) for measurement in measurements):
        given = " ".join(f"--set {override}" for override in overrides) or "no --set"
        raise ValueError(
            f"{given}: sweep {sweep.name!r} would measure the same again; give what is to be measured otherwise, "
            f"{_EXAMPLE} or --set measurement.lanczos_products=30"
        )
    return change


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        section, _, name = key.partition(".")
        if not separator or not key:
            raise ValueError(f"--set {override!r}: expected measurement.key=value, {_EXAMPLE}")
        if section != _SECTION or not name:
            raise ValueError(
                f"--set {override!r}: what was trained stays as it is, only measurement.* can be set here, {_EXAMPLE}; "
                "another model, data set or optimizer is another sweep: hessian-dynamics run SWEEP --set ..."
            )
        if name in settings:
            raise ValueError(f"--set {override!r}: {key} is set twice; say which value is meant")
        settings[name] = parse_value(text)
    return settings


def _checked(settings: dict[str, Any], measurements: Sequence[MeasurementConfig]) -> list[tuple[str, Any]]:
    """The settings in the order of the fields, as the fields hold them."""
    problems: list[ConfigIssue] = []
    checked = MeasurementConfig()
    for measurement in measurements:
        try:
            checked = MeasurementConfig.model_validate({**measurement.model_dump(), **settings})
        except ValidationError as error:
            problems += explain(error, MeasurementConfig, root=_SECTION)
    if settings.get(_EVERY, 1) != 1:
        text = "must be 1: every epoch that is measured gets every estimator; --every K chooses the epochs"
        problems.append(ConfigIssue(f"{_SECTION}.{_EVERY}", settings[_EVERY], text))
    if problems:
        raise SweepFileError(Path("--set"), list(dict.fromkeys(problems)))
    return [(name, getattr(checked, name)) for name in MeasurementConfig.model_fields if name in settings]


def _effective(measurement: MeasurementConfig) -> dict[str, Any]:
    """Without the fields of estimators that are not among those to be used."""
    idle = tuple(f"{name}_" for name in get_args(Estimator) if name not in measurement.estimators)
    return {name: value for name, value in measurement if not name.startswith(idle)}


def _text(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
