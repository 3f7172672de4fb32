"""lambda_max of small networks before and during training, against Lanczos run to convergence in float64."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import HessianOperator, LanczosResult, lanczos
from tests.estimators.cases import seeded

TOLERANCE = 1e-3
CLASSES, IMAGES = 4, 400


@dataclass(frozen=True)
class Measured:
    name: str
    exact: float
    cold: LanczosResult
    coarse: LanczosResult


def cnn() -> nn.Module:
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * 16, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def data() -> tuple[Tensor, Tensor]:
    """Noisy images of a few classes, in random order."""
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=seeded(1))
    prototypes = torch.randn(CLASSES, 1, 8, 8, generator=seeded(2))
    return prototypes[labels] + 1.5 * torch.randn(IMAGES, 1, 8, 8, generator=seeded(3)), labels


def snapshots(network: str, optimizer: str, seed: int) -> Iterator[tuple[str, nn.Module]]:
    inputs, labels = data()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = {"cnn": cnn, "mlp": mlp}[network]()
    steps = {"sgd": torch.optim.SGD(model.parameters(), 0.1), "adam": torch.optim.Adam(model.parameters(), 3e-3)}
    stages = {0: "init", 15: "early", 60: "mid", 200: "late"}
    for step in range(201):
        if step in stages:
            yield f"{network} {optimizer} {seed} {stages[step]}", copy.deepcopy(model)
        index = torch.randint(0, IMAGES, (40,), generator=seeded(1000 * seed + step))
        loss = cross_entropy(model(inputs[index]), labels[index])
        steps[optimizer].zero_grad()
        loss.backward()
        steps[optimizer].step()


@cache
def measured() -> list[Measured]:
    """28 cases in float32, with a reference in float64 from another start."""
    found = []
    inputs, labels = data()
    for seed, (network, optimizer) in enumerate([("cnn", "sgd"), ("cnn", "adam"), ("mlp", "sgd"), ("mlp", "adam")] * 2):
        for name, model in snapshots(network, optimizer, seed):
            if name.endswith("init") and optimizer == "adam":
                continue  # Before the first step, the optimizer makes no difference.
            double = HessianOperator(copy.deepcopy(model).double(), cross_entropy, (inputs.double(), labels))
            exact = lanczos(double, 60, tolerance=1e-7, generator=seeded(100 + seed), coarse_fraction=None)
            op = HessianOperator(model, cross_entropy, (inputs, labels))
            cold = lanczos(op, 10, TOLERANCE, generator=seeded(seed), coarse_fraction=None)
            coarse = lanczos(op, 10, TOLERANCE, generator=seeded(seed), coarse_fraction=0.25)
            found.append(Measured(name, exact.lambda_max, cold, coarse))
    return found


def relative_errors(start: str) -> list[float]:
    return [abs(getattr(one, start).lambda_max / one.exact - 1.0) for one in measured()]


def test_there_are_28_positive_cases() -> None:
    assert len(measured()) == 28
    assert all(one.exact > 0.0 for one in measured())


@pytest.mark.parametrize("start", ["cold", "coarse"])
def test_values_are_positive_and_at_most_the_largest_eigenvalue(start: str) -> None:
    for one in measured():
        assert 0.0 < getattr(one, start).lambda_max <= one.exact * (1.0 + 1e-4), one.name


@pytest.mark.parametrize("start", ["cold", "coarse"])
def test_converged_values_are_within_the_tolerance(start: str) -> None:
    for one, error in zip(measured(), relative_errors(start), strict=True):
        assert not getattr(one, start).converged or error <= TOLERANCE, one.name


def test_a_coarse_start_converges_within_ten_products() -> None:
    hits = [one.coarse for one, error in zip(measured(), relative_errors("coarse"), strict=True) if error <= TOLERANCE]
    assert len(hits) >= 0.9 * len(measured())
    assert sum(result.converged for result in hits) >= 0.9 * len(hits)
    assert all(one.coarse.products <= 10.0 + 1e-9 for one in measured())


def test_true_error_is_at_most_three_times_the_estimated_error() -> None:
    for one in measured():
        if one.coarse.converged:
            assert one.exact - one.coarse.lambda_max <= 3.0 * one.coarse.error + 1e-5 * one.exact, one.name
