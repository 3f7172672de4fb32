"""Tests which inputs traces without probes reject, and their results for trivial networks."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, mse_loss

from estimators import exact_trace, sampled_trace
from estimators.kernels.relu_pool import PooledRelus

TRACES: tuple[Callable[..., object], ...] = (exact_trace, sampled_trace)
both = pytest.mark.parametrize("trace", TRACES, ids=("exact", "sampled"))
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


@both
@pytest.mark.parametrize("wrong", [7, 3, -3])
@pytest.mark.parametrize("where", [0, 3, 5])
def test_invalid_classes_are_rejected(trace: Callable[..., object], wrong: int, where: int) -> None:
    targets = CLASSES.clone()
    targets[where] = wrong
    with pytest.raises(ValueError, match=f"a target is {wrong}, expected a class in 0..2, as the model has 3 outputs"):
        trace(network(), cross_entropy, (torch.randn(6, 4), targets), chunk_size=2)


@both
@pytest.mark.parametrize(
    ("loss_fn", "targets"),
    [(cross_entropy, torch.rand(6, 4)), (cross_entropy, torch.rand(6)), (mse_loss, torch.rand(6, 1))],
)
def test_targets_of_another_shape_are_rejected(
    trace: Callable[..., object], loss_fn: Callable[[Tensor, Tensor], Tensor], targets: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"for outputs of shape \(4, 3\), expected shape \(4, 3\)"):
        trace(network(), loss_fn, (torch.randn(6, 4), targets))


@both
def test_nan_weights_give_nan(trace: Callable[..., object]) -> None:
    model = network()
    nn.init.constant_(model[0].weight, math.nan)  # type: ignore[index]
    assert math.isnan(trace(model, cross_entropy, (torch.randn(6, 4), CLASSES)).value)  # type: ignore[attr-defined]


class OneNumber(nn.Module):
    """A network whose only parameter is a scalar outside any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


def test_a_network_with_one_parameter() -> None:
    inputs = torch.randn(6, 3, dtype=torch.float64)
    trace = exact_trace(OneNumber(), mse_loss, (inputs, torch.zeros_like(inputs)))
    assert trace.value == pytest.approx(2.0 * float(inputs.square().mean()), rel=1e-12)


class Constant(nn.Module):
    """A network whose outputs ignore its only parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.ignored = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :3]


@both
def test_a_zero_hessian_has_trace_zero(trace: Callable[..., object]) -> None:
    inputs = torch.randn(6, 4)
    assert trace(Constant(), cross_entropy, (inputs, CLASSES)).value == 0.0  # type: ignore[attr-defined]
    linear = trace(network(), lambda outputs, targets: outputs.mean(), (inputs, CLASSES))
    assert linear.value == 0.0  # type: ignore[attr-defined]


@both
def test_half_precision_is_rejected(trace: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="float16, expected torch.float32 or torch.float64"):
        trace(network().half(), cross_entropy, (torch.randn(6, 4).half(), CLASSES))


class Growing:
    """Data with one more batch from the fifth pass on."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        for _ in range(2 if self.passes < 5 else 3):
            yield torch.ones(6, 4), CLASSES


@both
def test_growing_data_is_rejected(trace: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="batches yielded 18 samples, expected 12 as in its first pass"):
        trace(network(), cross_entropy, Growing())


@pytest.mark.parametrize("window", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}])
def test_pooled_relus_have_the_gradients_of_autograd(window: dict[str, int]) -> None:
    """The gradients are bit-identical, even with ties, zeros and NaN."""
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    inputs[0, 0, 0, 0] = math.nan
    inputs.requires_grad_()
    expected = max_pool2d(inputs.relu(), **window)
    with PooledRelus() as relus:
        found = max_pool2d(inputs.relu(), **window)
    gradient = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, inputs, gradient)
    (got,) = torch.autograd.grad(found, inputs, gradient, retain_graph=True)
    assert torch.equal(got.nan_to_num(7.0), wanted.nan_to_num(7.0))
    assert not relus.pools or all(
        torch.equal(pool.gradients([gradient]).dense(0).nan_to_num(7.0), wanted.nan_to_num(7.0))
        for pool in relus.pools.values()
    )
