"""Half precision inside the model or the loss is refused, and autocast around a call has no effect."""

import pytest
import torch
from torch import Tensor, nn

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    dense_hessian,
    exact_trace,
    hessian_trace,
    hutchinson,
    lanczos,
    power_iteration,
    sampled_trace,
)
from tests.estimators.cases import seeded, smooth, vectors

F = nn.functional
ESTIMATORS = [HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian]


class Autocast(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs: Tensor = self.body(inputs)
        return outputs.float()


class FrozenPartInHalf(nn.Module):
    """Its half precision is outside the autograd graph."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.last = nn.Linear(3, 4).requires_grad_(False), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            features = self.frozen(inputs)
        outputs: Tensor = self.last(features.float())
        return outputs


def autocast_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.mse_loss(outputs @ torch.eye(2), targets)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize(
    ("model", "loss_fn", "dtype"),
    [
        (Autocast(smooth()), F.mse_loss, "bfloat16"),
        (FrozenPartInHalf(), F.mse_loss, "float16"),
        (smooth(), autocast_loss, "bfloat16"),
    ],
    ids=["model", "frozen part", "loss"],
)
def test_half_precision_inside_is_refused(estimator, model, loss_fn, dtype: str) -> None:  # type: ignore[no-untyped-def]
    data = tuple(part.float() for part in vectors())
    with pytest.raises(ValueError, match=f"computes in torch.{dtype} .*expected torch.float32 .*remove torch.autocast"):
        estimator(model, loss_fn, data)


def test_autocast_around_changes_no_bit() -> None:
    inputs, targets = (part.float() for part in vectors())
    op = HessianOperator(smooth(), F.mse_loss, (inputs, targets), chunk_size=3)

    def results() -> list[Tensor]:
        found = lanczos(op, 20, generator=seeded(0))
        probes = hutchinson(op, 3, deflate=found, generator=seeded(1))
        numbers = [*found.history, *power_iteration(op, 5, generator=seeded(2)).history, *probes.samples]
        numbers += [hessian_trace(op, 3, generator=seeded(3)).value, lanczos(op, 9, coarse_fraction=0.2).lambda_max]
        return [found.basis, torch.tensor(numbers, dtype=torch.float64)]

    torch.manual_seed(0)
    expected = results()
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
