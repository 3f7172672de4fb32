"""A linear map has the derivatives of its matrix, to any order, also under vmap."""

from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.linear_map import transposed
from tests.estimators.cases import seeded


@dataclass(frozen=True)
class Sum:
    """(x, y) -> scale * (x + 2 y), with a constant scale."""

    inputs: int = 2

    def __call__(self, constants: tuple[Tensor, ...], inputs: tuple[Tensor | None, ...]) -> Tensor:
        (scale,), (x, y) = constants, inputs
        return scale * ((0.0 if x is None else x) + (0.0 if y is None else 2 * y))  # type: ignore[no-any-return]

    def transpose(
        self, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        (scale,) = constants
        return scale * output if wanted[0] else None, 2 * scale * output if wanted[1] else None


def constant_and_output() -> tuple[Tensor, Tensor]:
    scale, output = torch.randn(2, 4, dtype=torch.float64, generator=seeded(0))
    return scale, output.requires_grad_()


def test_derivatives_to_third_order_are_right() -> None:
    scale, output = constant_and_output()

    def value(at: Tensor) -> Tensor:
        x, y = transposed(Sum(), (scale,), at, (True, True))
        assert x is not None and y is not None
        return (x.pow(3) * y).sum()

    assert torch.autograd.gradcheck(value, output)
    assert torch.autograd.gradgradcheck(value, output)
    (gradient,) = torch.autograd.grad(value(output), output, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), output, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), output)
    torch.testing.assert_close(third, 24 * 2 * scale**4 * output)


def test_unwanted_inputs_get_no_gradient() -> None:
    scale, output = constant_and_output()
    x, y = transposed(Sum(), (scale,), output, (False, True))
    assert x is None and y is not None
    (gradient,) = torch.autograd.grad(y.sum(), output)
    torch.testing.assert_close(gradient, 2 * scale)


def test_linear_map_works_under_vmap() -> None:
    scale, output = constant_and_output()
    rows = torch.stack([output, 3 * output]).detach()

    def value(at: Tensor) -> Tensor:
        x, _ = transposed(Sum(), (scale,), at, (True, True))
        assert x is not None
        return x.square().sum()

    torch.testing.assert_close(torch.func.vmap(torch.func.grad(value))(rows), 2 * scale**2 * rows)
