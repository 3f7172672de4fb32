"""Missing values of a sweep."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.missing_values import missing_values
from orchestrator.store.frames import Frames, read_frames
from orchestrator.store.storage import Storage
from tests.analysis import planted
from tests.store.test_earlier_versions import EARLIER

ONES = np.ones((1, 7))


def _frames(estimators: list[Any], columns: dict[str, np.ndarray], samples: Any = None, **measurement: Any) -> Frames:
    """One trial with records 0 to 6."""
    trial = planted.trial(0, 6, measurement={"estimators": estimators, **measurement})
    return planted.frames([trial], {"loss_train": ONES, **columns}, samples=samples or {})


def _missing(found: Frames, word: str) -> list[str]:
    """The sentences about keys that contain this word."""
    lines = missing_values(found)
    never = [key for line in lines if line.startswith("Never") for key in line[16:-1].split(", ") if word in key]
    return [*never, *(line for line in lines if not line.startswith("Never") and word in line)]


def _at(*records: int) -> np.ndarray:
    """Ones, and NaN at these records."""
    return np.where(np.isin(np.arange(7), records), np.nan, 1.0)[None, :]


def test_missing_values_are_counted(full: Frames) -> None:
    epochs = full.epochs.copy()
    epochs["hessian_lambda_min"] = np.nan
    epochs.loc[[3, 4], "accuracy_ood"] = np.nan
    found = missing_values(replace(full, epochs=epochs.drop(index=7)))
    assert any(line.startswith("Never measured: ") and "hessian/lambda_min" in line for line in found)
    assert "accuracy/ood is missing at 2 of 167 epochs." in found
    assert f"Trial {full.trials.trial_id[0]} lacks 1 intermediate epochs." in found


def test_a_trial_has_accuracies_or_r2(full: Frames, real_targets: Frames) -> None:
    assert _missing(full, "r2/") == []
    epochs = real_targets.epochs.copy()
    epochs.loc[3, "r2_test"] = np.nan
    found = replace(real_targets, epochs=epochs)
    assert _missing(found, "accuracy/") == []
    assert _missing(found, "r2/test") == ["r2/test is missing at 1 of 168 epochs."]


def test_values_of_algorithm1_are_due_at_its_own_interval() -> None:
    columns = {"algorithm1_trace": _at(1, 2, 3, 4, 5)}
    assert _missing(_frames(["algorithm1"], columns, algorithm1_every=3), "algorithm1/trace ") == [
        "algorithm1/trace is missing at 1 of 3 epochs."
    ]
    assert _missing(_frames(["lanczos"], columns), "algorithm1") == []


@pytest.mark.parametrize(
    ("estimators", "expected"),
    [
        (["gradient_curvature"], ["hessian/products"]),
        ([{"name": "lanczos", "every": 5}], ["hessian/lambda_max", "hessian/lambda_min", "hessian/products"]),
        (["sampled_trace"], ["hessian/products", "hessian/trace"]),
    ],
)
def test_only_requested_fields_of_records_are_missing(estimators: list[Any], expected: list[str]) -> None:
    found = _missing(_frames(estimators, {}), "hessian/")
    assert sorted(key for key in found if not key.endswith(("residual", "error"))) == expected


def test_a_chosen_quantity_is_missing_where_it_was_due() -> None:
    chosen = {"name": "gradient_curvature", "every": 2}
    assert _missing(_frames([chosen], {"gradient_curvature": _at(1, 3, 4, 5)}), "curvature") == [
        "gradient/curvature is missing at 1 of 4 epochs."
    ]
    assert _missing(_frames([chosen], {"gradient_curvature": _at(1, 3, 5)}), "curvature") == []
    assert _missing(_frames([chosen], {}), "curvature") == ["gradient/curvature"]
    assert _missing(_frames(["lanczos"], {"gradient_curvature": _at(1)}), "curvature") == []


def test_vectors_are_looked_up_in_the_samples() -> None:
    spectrum = {"hessian_spectral_density": (0.0,), "hessian_spectral_density_weights": (1.0,)}
    found = _frames(["spectral_density"], {}, dict.fromkeys((0, 1, 5), spectrum))  # due at 0, 1, 2 and 5
    assert _missing(found, "spectral_density") == [
        "hessian/spectral_density is missing at 1 of 4 epochs.",
        "hessian/spectral_density_weights is missing at 1 of 4 epochs.",
    ]


def test_members_of_a_family_are_due_in_trials_that_have_them() -> None:
    columns = {"layers_a_lambda_max": _at(2), "layers_b_lambda_max": ONES, "layers_a_lambda_max_residual": _at(2, 3)}
    assert _missing(_frames(["layers"], columns), "layers") == ["layers/a/lambda_max is missing at 1 of 4 epochs."]
    assert _missing(_frames(["layers"], {}), "layers") == ["layers/{layer}/lambda_max"]


def test_nothing_is_due_once_a_trial_has_diverged() -> None:
    columns = {"loss_train": np.array([[1.0] * 6 + [np.inf]]), "gradient_curvature": _at(6)}
    assert _missing(_frames(["gradient_curvature"], columns), "gradient/curvature") == []


def test_trials_of_earlier_versions_do_not_lack_new_quantities(tmp_path: Path) -> None:
    frames = read_frames(Storage(shutil.copytree(EARLIER, tmp_path / "storage")), "bits")
    for word in ("stability", "layers", "spectral", "sam", "relative", "gauss_newton/", "curvature", "noise"):
        assert _missing(frames, word) == []
