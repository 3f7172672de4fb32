"""Max pooling of a ReLU leaves all derivatives bit-identical. Cases in which it could not are left to torch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from estimators import HessianOperator, dense_hessian, exact_trace
from estimators.kernels.relu_pool import PooledRelus
from estimators.problem.saved_tensors import recording_saved
from tests.estimators.cases import seeded

Network = Callable[[Tensor, Tensor], Tensor]
"""A function of inputs [n, 2, 6, 6] and a weight [3, 2, 3, 3]."""


def overlapping(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 3, stride=2, padding=1)


def dilated(x: Tensor, w: Tensor) -> Tensor:
    return torch.max_pool2d(torch.relu(F.conv2d(x, w, padding=1)), [2, 3], [1, 2], [0, 1], [2, 1], True)


def method(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.conv2d(x, w, padding=1).relu(), kernel_size=2)


def also_used_elsewhere(x: Tensor, w: Tensor) -> Tensor:
    relu = F.relu(F.conv2d(x, w, padding=1))
    return F.max_pool2d(relu, 2) + F.avg_pool2d(relu, 2)


def pooled_twice(x: Tensor, w: Tensor) -> Tensor:
    relu = F.relu(F.conv2d(x, w, padding=1))
    return F.max_pool2d(relu, 2) * F.max_pool2d(relu, 3, stride=2, padding=1)


def of_smooth(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(torch.tanh(F.conv2d(x, w, padding=1))), 2).square()


def not_a_relu(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.leaky_relu(F.conv2d(x, w, padding=1)), 2)


def in_place(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, padding=1), inplace=True), 2)


def written_between(x: Tensor, w: Tensor) -> Tensor:
    relu = torch.relu(F.conv2d(x, w, padding=1)) * 1.0
    return F.max_pool2d(relu.sub_(0.1), 2)


def with_indices(x: Tensor, w: Tensor) -> Tensor:
    pooled, indices = F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2, return_indices=True)
    return pooled * indices


def of_a_view(x: Tensor, w: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)).mT, 2)


NETWORKS = [
    overlapping, dilated, method, also_used_elsewhere, pooled_twice, of_smooth, not_a_relu, in_place, written_between,
    with_indices, of_a_view,
]  # fmt: skip
REPLACED = [overlapping, dilated, method, of_smooth]

networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


class Model(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.weight = nn.Parameter(torch.randn(3, 2, 3, 3, generator=seeded(0)))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs, self.weight).flatten(1)


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(5, 2, 6, 6, generator=seeded(1)).to(dtype)


def derivatives(network: Network, inputs: Tensor, modes: list[PooledRelus]) -> list[Tensor]:
    """Outputs, and the first three derivatives along fixed directions."""
    weight = torch.randn(3, 2, 3, 3, generator=seeded(0)).to(inputs.dtype).requires_grad_()
    along = [torch.randn(weight.shape, generator=seeded(seed)).to(weight) for seed in (2, 3)]
    for mode in modes:
        mode.__enter__()
    outputs = network(inputs, weight)
    for mode in modes:
        mode.__exit__(None, None, None)
    found = [outputs]
    value = outputs.pow(3).sum()
    for direction in [*along, None]:
        (gradient,) = torch.autograd.grad(value, weight, create_graph=True)
        found.append(gradient)
        value = gradient.sum() if direction is None else (gradient * direction).sum()
    return [tensor.detach() for tensor in found]


@networks
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
def test_derivatives_are_bit_identical_to_autograd(network: Network, memory_format: torch.memory_format) -> None:
    inputs = images().contiguous(memory_format=memory_format)
    for ours, theirs in zip(
        derivatives(network, inputs, [PooledRelus()]), derivatives(network, inputs, []), strict=True
    ):
        assert torch.equal(ours, theirs)


@networks
def test_nan_propagates_as_in_torch(network: Network) -> None:
    inputs = images()
    inputs[1, 0, 2, 3], inputs[2, 1, 0, 0] = torch.nan, torch.inf
    for ours, theirs in zip(
        derivatives(network, inputs, [PooledRelus()]), derivatives(network, inputs, []), strict=True
    ):
        assert torch.equal(ours.isnan(), theirs.isnan())


@pytest.mark.parametrize("network", REPLACED, ids=lambda network: network.__name__)
def test_the_output_of_the_relu_is_not_saved(network: Network) -> None:
    model, inputs = Model(network), images()
    with recording_saved() as plain:
        outputs = model(inputs)
    by_torch = sum(tensor.nbytes for tensor in plain)
    with recording_saved() as lean, PooledRelus():
        around = model(inputs)
    relu = 5 * 3 * 6 * 6 * 4
    assert sum(tensor.nbytes for tensor in lean) <= by_torch - relu
    assert torch.equal(outputs, around)


@networks
def test_products_and_traces_match_the_dense_matrix(network: Network) -> None:
    model, inputs = Model(network).double(), images(torch.float64)
    pair = inputs, torch.randn(model(inputs).shape, generator=seeded(4)).double()
    dense = dense_hessian(model, F.mse_loss, pair)
    op = HessianOperator(model, F.mse_loss, pair, chunk_size=2)
    torch.testing.assert_close(op @ torch.eye(op.size, dtype=torch.float64), dense, rtol=1e-10, atol=1e-12)
    trace = exact_trace(model, F.mse_loss, pair)
    if trace.exact:
        assert trace.value == pytest.approx(float(dense.trace()), rel=1e-10)
