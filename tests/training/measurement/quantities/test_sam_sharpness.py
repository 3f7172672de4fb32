"""The rise of the loss along the gradient against moved weights."""

import copy
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tests.training.measurement.measured import Trained, trained


def rise(at: Trained, rho: float) -> float:
    moved = copy.deepcopy(at.model)
    step = rho * at.gradient / at.gradient.norm()
    vector_to_parameters(parameters_to_vector(moved.parameters()).detach() + step, moved.parameters())
    with torch.no_grad():
        before, after = (cross_entropy(model(at.inputs), at.targets) for model in (at.model, moved))
    return float(after - before)


@pytest.mark.parametrize(
    ("settings", "optimizer", "rho"),
    [
        ({}, {"name": "sgd", "lr": 0.1}, 0.05),
        ({"rho": 0.3}, {"name": "sgd", "lr": 0.1}, 0.3),
        ({}, {"name": "sgd", "lr": 0.1, "sam": {"rho": 0.2}}, 0.2),
    ],
)
def test_the_rise_is_that_of_moved_weights(settings: dict[str, Any], optimizer: dict[str, Any], rho: float) -> None:
    at = trained(optimizer)
    weights = [parameter.detach().clone() for parameter in at.model.parameters()]
    found = at.measure({"name": "sam_sharpness", **settings}).metrics()
    assert found["sam/sharpness"] == pytest.approx(rise(at, rho), rel=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(weights, at.model.parameters(), strict=True))
