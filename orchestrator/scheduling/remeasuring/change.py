"""Parses the ``--set`` overrides of a measurement and derives a label from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.study.config import MeasurementConfig
from orchestrator.study.overrides import parse_overrides, put
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.study.sweep_file_error import ConfigIssue, SweepFileError, explain

_SECTION = "measurement"
_RESOURCES = "resources"
_EXAMPLE = "for example --set measurement.fraction=0.5"
_EVERY = ("every", "algorithm1_every")


@dataclass(frozen=True)
class MeasurementChange:
    """New values for settings of a measurement, in the order of the fields of `MeasurementConfig`."""

    settings: tuple[tuple[str, Any], ...]

    def apply(self, measurement: MeasurementConfig) -> MeasurementConfig:
        """Returns a trial's measurement with the change applied. Every estimator runs on every measured checkpoint."""
        return self._with_settings(measurement).at_every_record()

    def changes(self, measurement: MeasurementConfig) -> bool:
        """Returns whether the change affects this measurement."""
        return _effective(self._with_settings(measurement)) != _effective(measurement)

    @property
    def label(self) -> str:
        """``fraction-0.5_lanczos_products-20``: the prefix of the new keys, and a folder in the store."""
        return "_".join(f"{name}-{_text(value)}" for name, value in self.settings)

    def _with_settings(self, measurement: MeasurementConfig) -> MeasurementConfig:
        return MeasurementConfig.model_validate({**measurement.model_dump(), **dict(self.settings)})


def read_change(overrides: Sequence[str], sweep: Sweep) -> MeasurementChange:
    """Parses the ``--set`` overrides of the measurement of a sweep's trials.

    Settings have a fixed order, and settings that affect no trial are dropped, so that equal changes have equal labels.

    Raises:
        SweepFileError: if settings are invalid; names all of them.
        ValueError: if a setting is not ``measurement.KEY=VALUE``, or nothing would change.
    """
    settings = _parse(overrides)
    measurements = list(dict.fromkeys(trial.measurement for trial in sweep.trials))
    checked = _validated(settings, measurements)
    change = MeasurementChange(
        tuple((name, value) for name, value in checked if any(getattr(m, name) != value for m in measurements))
    )
    if not any(change.changes(measurement) for measurement in measurements):
        given = " ".join(f"--set {override}" for override in overrides) or "no --set"
        raise ValueError(
            f"{given}: sweep {sweep.name!r} would measure the same again; give at least one changed setting, "
            f"{_EXAMPLE} or --set measurement.lanczos_products=30"
        )
    return change


def with_resources(sweep: Sweep, overrides: Sequence[str]) -> tuple[Sweep, list[str]]:
    """Applies the overrides of ``resources`` to a sweep. Returns the sweep and the other overrides.

    Raises:
        SweepFileError: if resources are invalid; names all of them.
        ValueError: if an override is not ``key=value``, or a key is set twice.
    """
    ours = [given for given in overrides if given.partition("=")[0].partition(".")[0] == _RESOURCES]
    content: dict[str, Any] = {_RESOURCES: sweep.resources.model_dump()}
    for key, value in parse_overrides(ours).items():
        put(content, key, value)
    try:
        resources = Resources.model_validate(content[_RESOURCES])
    except ValidationError as error:
        raise SweepFileError(Path("--set"), explain(error, Resources, root=_RESOURCES)) from None
    return replace(sweep, resources=resources), [given for given in overrides if given not in ours]


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    for given in overrides:
        if not given.startswith(f"{_SECTION}."):
            raise ValueError(
                f"--set {given!r}: only measurement.KEY=VALUE and resources.KEY=VALUE can be set here, {_EXAMPLE}, "
                "because the trials are already trained; for another model, data set or optimizer: "
                "hessian-dynamics run --set"
            )
    return {key.removeprefix(f"{_SECTION}."): value for key, value in parse_overrides(overrides).items()}


def _validated(settings: dict[str, Any], measurements: Sequence[MeasurementConfig]) -> list[tuple[str, Any]]:
    """Returns the validated settings in the order of the fields."""
    problems: list[ConfigIssue] = []
    checked = MeasurementConfig()
    for measurement in measurements:
        try:
            checked = MeasurementConfig.model_validate({**measurement.model_dump(), **settings})
        except ValidationError as error:
            problems += explain(error, MeasurementConfig, root=_SECTION)
    for name in _EVERY:
        if settings.get(name, 1) != 1:
            text = "must be 1, since every estimator runs on every measured record; choose records with --every K"
            problems.append(ConfigIssue(f"{_SECTION}.{name}", settings[name], text))
    if problems:
        raise SweepFileError(Path("--set"), list(dict.fromkeys(problems)))
    return [(name, getattr(checked, name)) for name in MeasurementConfig.model_fields if name in settings]


def _effective(measurement: MeasurementConfig) -> dict[str, Any]:
    """Returns the settings of the estimators in use."""
    used = {each.name for each in measurement.estimators}
    unused = tuple(f"{name}_" for name in BUILT_IN if name not in used)
    return {name: value for name, value in measurement if not name.startswith(unused)}


def _text(value: object) -> str:
    """Returns a text for the name of a folder and the key of a metric."""
    if isinstance(value, tuple | list):
        return "-".join(map(_text, value))
    if isinstance(value, QuantityConfig):
        settings = [f"{key}-{_text(setting)}" for key, setting in value.settings.items()]
        return "-".join([value.name.replace(":", "."), *settings])
    return str(value)
