"""The recorded spectrum and its moments against the dense Hessian."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.settings.spectral_density import SpectralDensityConfig
from orchestrator.study.record import Record
from orchestrator.training.measurement.measurement import Measurement
from tests.training.measurement.measured import trained


def test_spectrum_and_moments_agree_with_the_dense_hessian() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs, targets = torch.randn(40, 6).double(), torch.randint(3, (40,))
    settings = SpectralDensityConfig(name="spectral_density", probes=3, steps=20)  # with an own run
    config = MeasurementConfig(estimators=(settings,))
    record = Measurement(config, 0, inputs, targets).complete(Record(1, 0, loss_train=1.0), model)
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(model, cross_entropy, (inputs, targets)))
    nodes, weights = (record.raw[f"hessian/spectral_density{suffix}"] for suffix in ("", "_weights"))
    assert list(nodes) == sorted(nodes) and sum(weights) == pytest.approx(1.0)
    found = record.metrics()
    distance = stats.wasserstein_distance(nodes, eigenvalues, weights)
    assert distance <= found["hessian/spectral_density_error"] < 0.2 * float(eigenvalues[-1])
    for power in (1, 2, 3, 4):
        key, expected = f"hessian/moment_{power}", float(eigenvalues.pow(power).mean())
        assert abs(found[key] - expected) <= 4 * found[f"{key}_standard_error"] + 1e-3
    assert record.hessian_products == 80


@pytest.mark.parametrize("finder", ["lanczos", {"name": "top_eigenvalues", "k": 3}])
def test_outliers_of_another_quantity_are_shared(finder: Any) -> None:
    case = trained({"name": "sgd", "lr": 0.5})
    alone = case.measure(finder).hessian_products
    steps = {"name": "spectral_density", "steps": 12}
    shared = case.measure(finder, steps)
    assert alone is not None and shared.hessian_products == alone + 12
    own = case.measure(finder, {**steps, "probes": 2, "outliers": "own run"})
    assert own.hessian_products == alone + 36
    eigenvalues = torch.linalg.eigvalsh(case.hessian)
    nodes, weights = (shared.raw[f"hessian/spectral_density{suffix}"] for suffix in ("", "_weights"))
    distance = stats.wasserstein_distance(nodes, eigenvalues, weights)
    assert distance <= shared.metrics()["hessian/spectral_density_error"]
    # An outlier has the weight of one eigenvalue.
    assert nodes[-1] == pytest.approx(float(eigenvalues[-1]), rel=1e-3)
    assert weights[-1] == pytest.approx(1 / len(eigenvalues))
