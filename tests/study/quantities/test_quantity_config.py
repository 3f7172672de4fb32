"""A quantity with default settings is written as its name."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.quantities.catalogue import BUILT_IN, estimators_named
from orchestrator.study.quantities.quantity_config import STORED, is_sparsely_due
from orchestrator.study.quantities.settings.gradient_curvature import GradientCurvatureConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from tests.study.configs import config

FIRST_DENSITY = {"name": "spectral_density", "every": 1, "probes": 2, "steps": 40, "outliers": "own run"}


def test_only_settings_that_differ_are_written() -> None:
    assert GradientCurvatureConfig(name="gradient_curvature").model_dump() == "gradient_curvature"
    other = GradientCurvatureConfig(name="gradient_curvature", every=3)
    assert other.model_dump() == {"name": "gradient_curvature", "every": 3}
    assert str(other) == "gradient_curvature(every=3)"


def test_arguments_of_an_own_quantity_are_settings() -> None:
    own = OwnQuantityConfig.model_validate({"name": "lab:noise", "power": 2})
    assert own.settings == {"power": 2}
    assert str(own) == "lab:noise(power=2)"


def test_every_counts_measured_records() -> None:
    measurement = MeasurementConfig.model_validate(
        {"every": 2, "estimators": ["lanczos", {"name": "gradient_curvature", "every": 3}]}
    )
    due = {number: [each.name for each in measurement.due(number)] for number in range(7)}
    assert due == {0: ["lanczos", "gradient_curvature"], 1: [], 2: ["lanczos"], 3: [], 4: ["lanczos"], 5: []} | {
        6: ["lanczos", "gradient_curvature"]
    }
    assert [each.name for each in measurement.at_every_record().due(1)] == ["lanczos", "gradient_curvature"]


def test_sparse_records_follow_the_series_of_round_numbers() -> None:
    assert [number for number in range(1001) if is_sparsely_due(number)] == [
        0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
    ]  # fmt: skip
    estimators = [{"name": "lanczos", "every": "1-2-5"}, {"name": "gradient_curvature", "every": 2}]
    measurement = MeasurementConfig.model_validate({"every": 2, "estimators": estimators})
    due = {number: [each.name for each in measurement.due(number)] for number in range(0, 22, 2)}
    assert {number for number, names in due.items() if "lanczos" in names} == {0, 2, 4, 10, 20}
    assert all("gradient_curvature" in names for names in due.values())
    assert measurement.due(1) == measurement.due(5) == ()


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "1-3", None])
def test_other_intervals_are_rejected_once(every: Any) -> None:
    with pytest.raises(ValidationError, match="must be an integer of at least 1, or 1-2-5: records 0, 1, 2") as error:
        MeasurementConfig.model_validate({"estimators": [{"name": "lanczos", "every": every}]})
    assert error.value.error_count() == 1


@pytest.mark.parametrize("name", [name for name, kind in BUILT_IN.items() if kind.first_defaults])
def test_a_changed_default_changes_no_stored_trial(name: str) -> None:
    kind, now = BUILT_IN[name], config(measurement={"estimators": [name]})
    first = config(measurement={"estimators": [{"name": name, **kind.first_defaults}]})
    assert now.trial_id != first.trial_id
    content = now.model_dump(mode="json")
    for stored in (name, {"name": name}):  # as written before the change
        content["measurement"]["estimators"] = [stored]
        assert TrialConfig.model_validate(content, context=STORED) == first
        assert TrialConfig.model_validate(content) == now
    for trial in (now, first):
        again = trial.model_dump_json()
        assert TrialConfig.model_validate_json(again) == TrialConfig.model_validate_json(again, context=STORED) == trial


@pytest.mark.parametrize(
    ("first", "trial_id"),
    [
        (FIRST_DENSITY, "d66bb970acd4"),
        ({**FIRST_DENSITY, "probes": 4}, "ae17ddc96352"),
        ({**FIRST_DENSITY, "every": 5}, "d57d53b402f4"),
    ],
)
def test_ids_are_those_of_the_first_defaults(first: dict[str, Any], trial_id: str) -> None:
    """Computed before the defaults of these quantities changed."""
    estimators = [first, {"name": "top_eigenvalues", "every": 1}, {"name": "layers", "every": 1}]
    assert config(measurement={"estimators": estimators}).trial_id == trial_id


def test_changed_defaults_are_written_out_but_not_shown() -> None:
    (density,) = estimators_named("spectral_density")
    assert density.model_dump() == {
        "name": "spectral_density", "every": "1-2-5", "probes": 1, "steps": 24, "outliers": "shared"
    }  # fmt: skip
    assert (str(density), repr(density), density.settings) == ("spectral_density", "'spectral_density'", {})
