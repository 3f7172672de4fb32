"""A quantity with default settings is written as its name."""

from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.settings.gradient_curvature import GradientCurvatureConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig


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
