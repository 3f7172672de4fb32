"""Models compiled by torch.compile are measured as their original Python; TorchScript is refused."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace, hessian_trace, sampled_trace
from tests.estimators.cases import seeded, vectors

F = nn.functional
ESTIMATORS = [HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian]


def curve(inputs: Tensor) -> Tensor:
    return torch.tanh(inputs) * inputs.sigmoid()


class WithFunction(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.function(self.first(inputs)))
        return outputs


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def compiled_layer(model: nn.Module) -> nn.Module:
    model.first = torch.compile(model.first, backend="aot_eager")
    return model


def compiled_function(model: nn.Module) -> nn.Module:
    assert isinstance(model, WithFunction)
    model.function = torch.compile(curve, backend="aot_eager")
    return model


WAYS = [
    lambda model: torch.compile(model, backend="aot_eager"),
    compiled_in_place,
    compiled_layer,
    compiled_function,
]


@pytest.mark.parametrize("compiled", WAYS, ids=["model", "in place", "layer", "function"])
def test_compiled_parts_change_no_bit(compiled) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    original = WithFunction(curve).double()
    model, data = compiled(copy.deepcopy(original)), vectors()

    def results(model: nn.Module) -> list[Tensor]:
        op, gauss_newton = (kind(model, F.mse_loss, data) for kind in (HessianOperator, GaussNewtonOperator))
        vector = torch.randn(op.size, dtype=op.dtype, generator=seeded(1))
        trace = torch.tensor(
            [exact_trace(model, F.mse_loss, data).value, hessian_trace(op, 2, generator=seeded(2)).value]
        )
        return [op @ vector, gauss_newton @ vector, dense_hessian(model, F.mse_loss, data), trace]

    before = model(data[0])
    for found, expected in zip(results(model), results(original), strict=True):
        assert torch.equal(found, expected)
    # Compilation works as before afterwards.
    torch.testing.assert_close(model(data[0]), before)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("part", ["", "first"])
@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused(estimator, part: str) -> None:  # type: ignore[no-untyped-def]
    model: nn.Module = WithFunction(torch.tanh).double()
    if part:
        model.first = torch.jit.script(model.first)
    else:
        model = torch.jit.trace(model, vectors()[0])
    with pytest.raises(
        ValueError, match=f"module '{part}' is a TorchScript module, .* pass the model that was scripted"
    ):
        estimator(model, F.mse_loss, vectors())
