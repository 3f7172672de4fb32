"""Lean convolutions are bit-identical to torch's convolutions and never compute the gradient of the data."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from estimators import HessianOperator
from estimators.kernels import convolutions
from estimators.kernels.convolutions import LeanConvolutions, _HiddenConvolution
from tests.estimators.cases import assert_relatively_close, images, random_vector, seeded

SHAPE = 5, 4, 9, 8


def frozen(convolution: nn.Conv2d, name: str) -> nn.Conv2d:
    getattr(convolution, name).requires_grad_(False)
    return convolution


class Functional(nn.Module):
    """Uses one weight in two calls, as positional and keyword argument, on a batch and on single images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3, generator=seeded(0)))
        self.bias = nn.Parameter(torch.randn(4, generator=seeded(1)))

    def forward(self, inputs: Tensor) -> Tensor:
        first = torch.conv2d(inputs, self.weight, self.bias, 1, 1)
        second = nn.functional.conv2d(input=first, weight=self.weight, bias=None, padding=(1, 1))
        alone = torch.stack([torch.conv2d(image, self.weight, self.bias) for image in inputs])
        mapped = torch.func.vmap(lambda image: torch.conv2d(image[None], self.weight, padding=1)[0])(inputs)
        return torch.cat([part.flatten(1) for part in (torch.tanh(first), second, torch.tanh(alone), mapped)], dim=1)


CONVOLUTIONS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(4, 6, 3, padding=1),
    lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False),
    lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), groups=2),
    lambda: nn.Conv2d(4, 6, 3, padding="same"),
    lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    lambda: frozen(nn.Conv2d(4, 6, 3), "bias"),
    lambda: frozen(nn.Conv2d(4, 6, 3), "weight"),
    lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3)),
    lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 5, stride=2)),
    lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 3, 2)),
]
STACKED: list[Callable[[], nn.Module]] = [
    lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Conv2d(6, 2, 3)),
    lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, (3, 2), (2, 1), (0, 1), (1, 2), 2, False)),
    lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 5), nn.Tanh(), nn.Conv1d(3, 2, 3, padding=4)),
]


def product(build: Callable[[], nn.Module], lean: bool) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(build(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
        inputs, targets = torch.randn(SHAPE, generator=seeded(1)), torch.tensor([0, 1, 2, 0, 1])
        model(inputs)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with LeanConvolutions() if lean else nullcontext():
        loss = nn.functional.cross_entropy(model(inputs), targets)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    vectors = [torch.randn(parameter.shape, generator=seeded(2)) for parameter in parameters]
    return [*gradients, *torch.autograd.grad(gradients, parameters, vectors)]


@pytest.mark.parametrize("build", CONVOLUTIONS)
def test_first_layer_is_bit_identical_to_torch(build: Callable[[], nn.Module]) -> None:
    expected = product(build, lean=False)
    found = product(build, lean=True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert max(float(part.abs().max()) for part in expected[len(expected) // 2 :]) > 1e-3


@pytest.mark.parametrize("build", STACKED)
def test_stacked_convolutions_are_correct_up_to_rounding(build: Callable[[], nn.Module]) -> None:
    for found, expected in zip(product(build, lean=True), product(build, lean=False), strict=True):
        assert_relatively_close(found, expected, 1e-5)


def test_weight_used_several_times_is_correct_up_to_rounding() -> None:
    for found, expected in zip(product(Functional, lean=True), product(Functional, lean=False), strict=True):
        assert_relatively_close(found, expected, 1e-6)


class Shapes(TorchDispatchMode):
    """Records the shapes of results of convolutions and their derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "convolution" in str(func):
            results = result if isinstance(result, (tuple, list)) else [result]
            self.seen += [tuple(part.shape) for part in results if part is not None]
        return result


@pytest.mark.parametrize("lean", [True, False])
def test_the_gradient_of_the_data_is_not_computed(lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not lean:
        monkeypatch.setattr("estimators.problem.problem.LeanConvolutions", nullcontext)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)).double()
    op = HessianOperator(model, nn.functional.cross_entropy, images(8), chunk_size=4)
    with Shapes() as shapes:
        op @ random_vector(op)
    assert len(shapes.seen) > 4
    assert ((4, 2, 4, 4) not in shapes.seen) == lean


def test_the_second_derivative_of_the_bias_has_its_shape() -> None:
    convolution = nn.Conv2d(4, 6, 3)
    outputs = []
    for context in (LeanConvolutions(), nullcontext()):
        with context:
            loss = torch.tanh(convolution(torch.ones(SHAPE))).square().sum()
        (gradient,) = torch.autograd.grad(loss, convolution.bias, create_graph=True)  # type: ignore[arg-type]
        outputs += torch.autograd.grad(gradient.sum(), list(convolution.parameters()))
    assert torch.equal(outputs[0], outputs[2]) and torch.equal(outputs[1], outputs[3])


@pytest.mark.parametrize(
    "geometry",
    [
        ([1, 1], [1, 1], [1, 1], 1),
        ([1, 1], [2, 0], [2, 1], 1),
        ([1, 1], [4, 1], [1, 1], 1),
        ([2, 1], [0, 1], [1, 2], 2),
        ([1, 2], [2, 0], [2, 1], 4),
    ],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_second_derivatives_equal_torch(geometry: Any, with_bias: bool) -> None:
    generator = seeded(0)
    shapes = [SHAPE, (8, 4 // geometry[3], 3, 2), *([(8,)] if with_bias else [])]
    arguments = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    bias = arguments[2] if with_bias else None
    expected, found = (
        torch.convolution(arguments[0], arguments[1], bias, *geometry[:3], False, [0, 0], geometry[3]),
        _HiddenConvolution.apply(arguments[0], arguments[1], bias, geometry),
    )
    assert torch.equal(found, expected)
    delta = torch.randn(expected.shape, generator=generator, dtype=torch.float64, requires_grad=True)
    directions = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    ours, theirs = (
        [*first, *torch.autograd.grad(first, [*arguments[:2], delta], directions)]
        for first in (
            torch.autograd.grad(outputs, arguments, delta, create_graph=True) for outputs in (found, expected)
        )
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_second_derivative_along_a_single_argument() -> None:
    generator = seeded(0)
    inputs, weight = (torch.randn(s, generator=generator, requires_grad=True) for s in (SHAPE, (8, 4, 3, 2)))
    outputs = _HiddenConvolution.apply(inputs, weight, None, ([1, 1], [1, 1], [1, 1], 1))
    delta = torch.ones_like(outputs).requires_grad_()
    for_input, for_weight = torch.autograd.grad(outputs, [inputs, weight], delta, create_graph=True)
    (of_weight,) = torch.autograd.grad(for_input.sum(), [weight], retain_graph=True)
    (of_input,) = torch.autograd.grad(for_weight.sum(), [inputs])
    assert of_weight.shape == weight.shape
    assert of_input.shape == inputs.shape


@pytest.mark.parametrize("build", CONVOLUTIONS[:6])
def test_weight_gradient_from_patches_is_correct(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = product(build, lean=False)
    monkeypatch.setattr(convolutions, "_has_few_inputs", lambda *call: call[2][3] == 1)
    for found, reference in zip(product(build, lean=True), expected, strict=True):
        assert_relatively_close(found, reference, 1e-5)
