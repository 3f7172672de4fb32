"""A fused first layer has the derivatives of its three parts, and no other layers are fused."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from estimators.kernels import blocks
from estimators.kernels.conv_relu_pool import _ConvReluPool
from estimators.kernels.convolutions import LeanConvolutions
from estimators.kernels.relu_pool import PooledRelus
from estimators.problem.saved_tensors import recording_saved
from tests.estimators.cases import seeded

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function of inputs [n, 2, 6, 6], a weight [4, 2, 3, 3] and a bias [4]."""


def usual(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2)


def without_bias(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2) * b.sum()


def overlapping(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1, stride=(1, 2))), 3, stride=1, padding=1)


def grouped(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(torch.relu(F.conv2d(x, w[:, :1], b, padding=2, dilation=2, groups=2)), (2, 3), ceil_mode=True)


def computed_weight(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, torch.tanh(w), b * b)), 2)


def deeper(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    first = F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2)
    return F.max_pool2d(F.relu(F.conv2d(first, w.repeat(1, 2, 1, 1), b, padding=1)), 2)


def also_used_elsewhere(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    convolved = F.conv2d(x, w, b, padding=1)
    return F.max_pool2d(F.relu(convolved), 2) + F.avg_pool2d(torch.tanh(convolved), 2)


def written_between(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1).mul_(b.view(-1, 1, 1))), 2)


def of_parameters(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.max_pool2d(F.relu(F.conv2d(x * b[0], w, b, padding=1)), 2)


NETWORKS = [
    usual, without_bias, overlapping, grouped, computed_weight, deeper, also_used_elsewhere, written_between,
    of_parameters,
]  # fmt: skip
FUSED = [usual, without_bias, overlapping, grouped, computed_weight, deeper, also_used_elsewhere]

networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)


def parameters(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = [(4, 2, 3, 3), (4,)]
    return [torch.randn(s, generator=seeded(i)).to(dtype).requires_grad_() for i, s in enumerate(shapes)]


def images() -> Tensor:
    return torch.randn(7, 2, 6, 6, generator=seeded(9)).double()


def derivatives(network: Network, inputs: Tensor, modes: list[type]) -> list[Tensor]:
    """Outputs, and the first three derivatives along fixed directions."""
    at = parameters(inputs.dtype)
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode())
        outputs = network(inputs, *at)
    found, value = [outputs], outputs.pow(3).sum()
    for seed in (2, 3, 4):
        gradients = torch.autograd.grad(value, at, create_graph=True)
        found += gradients
        value = sum(
            ((g * torch.randn(g.shape, generator=seeded(seed)).to(g)).sum() for g in gradients),
            start=value.new_zeros(()),
        )
    return [tensor.detach() for tensor in found]


@networks
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
def test_derivatives_equal_autograd(
    network: Network, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are processed in blocks of two; the last block has one image."""
    monkeypatch.setattr(blocks, "_BYTES", {"cpu": 2 * 8 * 4 * 6 * 6})
    inputs = images().contiguous(memory_format=memory_format)
    expected = derivatives(network, inputs, [])
    for ours, theirs in zip(derivatives(network, inputs, [LeanConvolutions, PooledRelus]), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@networks
def test_only_whole_first_layers_are_fused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    apply = _ConvReluPool.apply
    monkeypatch.setattr(_ConvReluPool, "apply", lambda *args: calls.append(1) or apply(*args))
    derivatives(network, images(), [LeanConvolutions, PooledRelus])
    assert len(calls) == (network in FUSED)


@networks
def test_nan_propagates_as_in_torch(network: Network) -> None:
    inputs = images()
    inputs[1, 0, 2, 3] = torch.nan
    outputs, *rest = derivatives(network, inputs, [LeanConvolutions, PooledRelus])
    expected, *others = derivatives(network, inputs, [])
    assert torch.equal(outputs.isnan(), expected.isnan())
    assert all(torch.equal(ours.isnan(), theirs.isnan()) for ours, theirs in zip(rest, others, strict=True))


def test_the_output_of_the_convolution_is_not_saved() -> None:
    at = parameters()
    with recording_saved() as saved, LeanConvolutions(), PooledRelus():
        outputs = usual(images(), *at)
    convolved = 7 * 4 * 6 * 6
    assert outputs.requires_grad and max(tensor.numel() for tensor in saved) < convolved
    # Saved: the images, the output of the pool and the parameters in float64, and the indices in int32.
    assert sum(tensor.nbytes for tensor in saved) == 8 * (images().numel() + outputs.numel() + at[0].numel()) + 4 * (
        outputs.numel()
    )


def test_second_derivative_along_a_single_parameter() -> None:
    for index in (0, 1):
        ours, theirs = [], []
        for found, modes in ((ours, [LeanConvolutions, PooledRelus]), (theirs, [])):
            at = parameters()
            with ExitStack() as stack:
                for mode in modes:
                    stack.enter_context(mode())
                value = usual(images(), *at).pow(3).sum()
            gradient = torch.autograd.grad(value, at, create_graph=True)[index]
            found += torch.autograd.grad(gradient.sum(), at)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
