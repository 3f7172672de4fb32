"""Relative sharpness against dense blocks, and under the rescaling of Dinh et al. (2017)."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import HessianOperator, dense_hessian, lanczos, relative_sharpness

GENERATOR = torch.Generator().manual_seed(3)
DATA = torch.randn(30, 4, generator=GENERATOR).double(), torch.randint(3, (30,), generator=GENERATOR)


def network(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 3)).double()


def dense(model: nn.Module) -> float:
    diagonal: Tensor = dense_hessian(model, cross_entropy, DATA).diagonal()
    sizes = [parameter.numel() for parameter in model.parameters()]
    parts = zip(model.parameters(), diagonal.split(sizes), strict=True)
    return sum(float(parameter.detach().square().sum() * part.sum()) for parameter, part in parts)


def test_the_value_of_a_relu_network_is_exact() -> None:
    model = network(nn.ReLU())
    found = relative_sharpness(HessianOperator(model, cross_entropy, DATA))
    assert found.exact
    assert found.value == pytest.approx(dense(model), rel=1e-12)
    assert (found.standard_error, found.products) == (0.0, 0.0)
    assert sum(found.per_parameter.values()) == pytest.approx(found.value)


def test_probes_estimate_the_rest_for_other_networks() -> None:
    model = network(nn.Tanh())
    op = HessianOperator(model, cross_entropy, DATA)
    found = relative_sharpness(op, probes=400, generator=torch.Generator().manual_seed(1))
    assert not found.exact
    assert found.products == 400
    assert 0 < found.standard_error < 0.1 * found.value
    assert abs(found.value - dense(model)) < 4 * found.standard_error


def test_rescaling_layers_changes_lambda_max_and_not_the_relative_sharpness() -> None:
    model = network(nn.ReLU())
    rescaled = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rescaled[0].parameters():  # type: ignore[operator,index]
            parameter.mul_(10.0)
        rescaled[2].weight.div_(10.0)  # type: ignore[operator,index]
    operators = [HessianOperator(each, cross_entropy, DATA) for each in (model, rescaled)]
    assert torch.allclose(model(DATA[0]), rescaled(DATA[0]))
    before, after = (relative_sharpness(op).value for op in operators)
    assert after == pytest.approx(before, rel=1e-10)
    eigenvalues = [lanczos(op, 60, tolerance=1e-6, coarse_fraction=None).lambda_max for op in operators]
    assert eigenvalues[1] > 5 * eigenvalues[0]


def test_zero_parameters_contribute_nothing() -> None:
    model = network(nn.Tanh())
    with torch.no_grad():
        model[0].bias.zero_()  # type: ignore[operator,index]
    found = relative_sharpness(HessianOperator(model, cross_entropy, DATA), probes=5)
    assert found.per_parameter["0.bias"] == 0.0
    assert found.value == found.value  # not NaN
