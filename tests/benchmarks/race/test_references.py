"""References of the race against the dense Hessian."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.race.references import reference


def test_the_reference_is_that_of_the_dense_hessian() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    images, labels = torch.randn(20, 4), torch.randint(0, 3, (20,))
    lambda_max, trace = reference(model, images, labels)
    values = torch.linalg.eigvalsh(_dense(model.double(), images.double(), labels))
    assert lambda_max == pytest.approx(float(values[-1]), rel=1e-6)
    assert trace == pytest.approx(float(values.sum()), rel=1e-9)


def test_a_network_without_an_exact_trace_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match="the reference trace is not exact"):
        reference(model, torch.randn(20, 4), torch.randint(0, 3, (20,)))


def _dense(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return cross_entropy(torch.func.functional_call(model, weights, (images,)), labels)

    hessian = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(hessian, Tensor)
    return hessian
