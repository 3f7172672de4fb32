"""Changes of a measurement: parsing, validation, and labels that do not depend on the order of settings."""

import itertools
import re
from dataclasses import replace

import pytest

from orchestrator.scheduling.remeasuring.change import MeasurementChange, read_change, with_resources
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.study.sweep_file_error import SweepFileError
from tests.training.trials import small_trial


def sweep(*measurements: dict[str, object]) -> Sweep:
    trials = [small_trial(measurement=measurement) for measurement in measurements or ({},)]
    return Sweep("night", "", tuple(trials), Resources())


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        (["fraction=0.5"], "fraction-0.5"),
        (["fraction=1"], "fraction-1.0"),
        (["fraction=1.0"], "fraction-1.0"),
        (["fraction=0.00001"], "fraction-1e-05"),
        (["estimators=[lanczos]", "lanczos_products=20"], "estimators-lanczos_lanczos_products-20"),
        (["algorithm1_every=1", "algorithm1_probes=50"], "algorithm1_every-1_algorithm1_probes-50"),
    ],
)
def test_label_does_not_depend_on_the_order_of_settings(overrides: list[str], label: str) -> None:
    desired = sweep({"fraction": 0.1, "algorithm1_every": 5})
    for order in itertools.permutations(overrides):
        assert read_change([f"measurement.{each}" for each in order], desired).label == label
    assert re.fullmatch(r"[A-Za-z0-9._-]+", label)


def test_the_order_of_estimators_does_not_matter() -> None:
    desired = sweep({"estimators": ["lanczos"]})
    labels = {
        read_change([f"measurement.estimators={names}"], desired).label
        for names in ("[lanczos, algorithm1]", "[algorithm1, lanczos]")
    }
    assert labels == {"estimators-lanczos-algorithm1"}


def test_settings_that_affect_no_trial_are_dropped() -> None:
    desired = sweep({"lanczos_products": 7}, {"lanczos_products": 7, "fraction": 0.5})
    change = read_change(["measurement.lanczos_products=7", "measurement.fraction=0.2"], desired)
    assert change.label == "fraction-0.2"
    assert read_change(["measurement.fraction=0.5"], desired).label == "fraction-0.5"


def test_resources_are_overridden_beside_the_measurement() -> None:
    desired = sweep()
    changed, settings = with_resources(desired, ["resources.gpu=auto", "measurement.fraction=0.5", "resources.cpu=2"])
    assert changed == replace(desired, resources=Resources(cpu=2, gpu="auto"))
    assert settings == ["measurement.fraction=0.5"]
    assert with_resources(desired, settings) == (desired, settings)


def test_invalid_resources_are_refused() -> None:
    with pytest.raises(
        SweepFileError, match=r"--set: 2 problems(?s:.*)resources.cpu = 0: (?s:.*)resources.gpu = 'all'"
    ):
        with_resources(sweep(), ["resources.cpu=0", "resources.gpu=all"])


def test_a_change_is_applied_to_the_measurement_of_each_trial() -> None:
    change = MeasurementChange((("fraction", 0.5),))
    own = MeasurementConfig(fraction=0.1, lanczos_products=7, every=3, algorithm1_every=5)
    assert change.apply(own) == MeasurementConfig(fraction=0.5, lanczos_products=7, algorithm1_every=1)
    assert change.changes(own)
    assert not change.changes(MeasurementConfig(fraction=0.5, algorithm1_every=5))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["fraction"],
            "--set 'fraction': only measurement.KEY=VALUE and resources.KEY=VALUE can be set here, for example ",
        ),
        (
            ["=0.5"],
            "--set '=0.5': only measurement.KEY=VALUE and resources.KEY=VALUE can be set here",
        ),
        (
            ["optimizer.lr=0.1"],
            "--set 'optimizer.lr=0.1': only measurement.KEY=VALUE and resources.KEY=VALUE can be set here, for example "
            "--set measurement.fraction=0.5, because the trials are already trained; for another model, data set or "
            "optimizer: hessian-dynamics run --set",
        ),
        (["fraction=0.5"], "--set 'fraction=0.5': only measurement.KEY=VALUE and resources.KEY=VALUE can be set here"),
        (["measurement={fraction: 0.5}"], "only measurement.KEY=VALUE and resources.KEY=VALUE can be set here"),
        (["measurement.fraction"], "--set 'measurement.fraction': expected key=value"),
        (
            ["measurement.fraction=0.5", "measurement.fraction=0.6"],
            "--set 'measurement.fraction=0.6': measurement.fraction is set twice; keep one of the values",
        ),
        (
            [],
            "no --set: sweep 'night' would measure the same again; give at least one changed setting, for example",
        ),
        (
            ["measurement.fraction=0.1"],
            "--set measurement.fraction=0.1: sweep 'night' would measure the same again; give at least one "
            "changed setting, for example --set measurement.fraction=0.5 or --set measurement.lanczos_products=30",
        ),
    ],
)
def test_invalid_overrides_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_change(overrides, sweep({}))


def test_settings_of_unused_estimators_have_no_effect() -> None:
    desired = sweep({"estimators": ["lanczos"]})
    with pytest.raises(ValueError, match="would measure the same again"):
        read_change(["measurement.algorithm1_probes=50"], desired)
    both = ["measurement.algorithm1_probes=50", "measurement.estimators=[lanczos,algorithm1]"]
    assert read_change(both, desired).label == "estimators-lanczos-algorithm1_algorithm1_probes-50"


def test_all_errors_are_reported_together_as_in_a_sweep_file() -> None:
    overrides = [
        "measurement.fraction=2",
        "measurement.estimators=[lanczos,lanczsos]",
        "measurement.lanczos_product=3",
        "measurement.algorithm1_every=5",
    ]
    with pytest.raises(SweepFileError) as caught:
        read_change(overrides, sweep({}, {"lanczos_products": 7}))  # two measurements, but each problem is listed once
    header, *problems = str(caught.value).splitlines()
    assert header == "--set: 4 problems, nothing was started"
    estimators, fields = (
        ", ".join(sorted([*BUILT_IN, "package.module:name"])),
        ", ".join(sorted(MeasurementConfig.model_fields)),
    )
    assert problems == [
        "  measurement.fraction = 2: must be less than or equal to 1",
        f"  measurement.estimators.1.name = 'lanczsos': unknown name; did you mean 'lanczos'? valid here: {estimators}",
        f"  measurement.lanczos_product = 3: unknown key; did you mean 'lanczos_products'? valid here: {fields}",
        "  measurement.algorithm1_every = 5: must be 1, since every estimator runs on every measured record; "
        "choose records with --every K",
    ]
