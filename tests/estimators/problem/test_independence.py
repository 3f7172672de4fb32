"""Samples that influence each other, and forward passes that rewrite weights, are refused by every estimator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace, sampled_trace
from tests.estimators.cases import assert_relatively_close, random_vector, seeded, vectors

F = nn.functional
ESTIMATORS = [HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian]


class Mixing(nn.Module):
    """Two layers with an operation on the batch between them."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.operation = nn.Linear(3, 4), nn.Linear(4, 2), operation

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.operation(torch.tanh(self.first(inputs))))
        return outputs


class LastState(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.recurrent, self.last = nn.LSTM(1, 3, batch_first=batch_first), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.recurrent(inputs.unsqueeze(2))[0][:, -1])
        return outputs


class GradientOnly(torch.autograd.Function):
    """Mixes the gradients of samples, but not their values."""

    @staticmethod
    def forward(ctx, inputs: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return gradient / (gradient != 0).sum()


MIXING: dict[str, Callable[[], nn.Module]] = {
    "cumsum": lambda: Mixing(lambda x: x.cumsum(0)),
    "neighbour": lambda: Mixing(lambda x: x.roll(1, 0)),
    "own batch norm": lambda: Mixing(lambda x: (x - x.mean(0)) / x.std(0, correction=0)),
    "largest of the batch": lambda: Mixing(lambda x: x / x.max()),
    "position in the batch": lambda: Mixing(lambda x: x * torch.arange(len(x)).unsqueeze(1)),
    "batches of three or more": lambda: Mixing(lambda x: x - x.mean(0) if len(x) > 2 else x),
    "recurrent over samples": lambda: LastState(batch_first=False),
    "gradient only": lambda: Mixing(GradientOnly.apply),
}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("kind", MIXING)
def test_samples_that_influence_each_other_are_refused(estimator, kind: str) -> None:  # type: ignore[no-untyped-def]
    model = MIXING[kind]().double()
    with pytest.raises(ValueError, match=r"of 4 samples change by .* of their batch, expected samples that do not"):
        estimator(model, F.mse_loss, vectors())


def test_samples_of_later_batches_are_compared_if_the_first_batch_is_too_small() -> None:
    inputs, targets = vectors()
    batches = [(inputs[:1], targets[:1]), (inputs[1:], targets[1:])]
    with pytest.raises(ValueError, match="do not influence each other"):
        HessianOperator(MIXING["cumsum"]().double(), F.mse_loss, batches)


def test_a_single_sample_must_not_change_beside_its_copy() -> None:
    inputs, targets = vectors(1)
    with pytest.raises(ValueError, match="do not influence each other"):
        sampled_trace(MIXING["cumsum"]().double(), F.mse_loss, (inputs, targets))


def test_nan_in_one_split_only_is_refused() -> None:
    inputs, targets = vectors(2)
    with pytest.raises(ValueError, match="change by nan with the split"):
        HessianOperator(MIXING["own batch norm"]().double(), F.mse_loss, (inputs, targets))


def test_nan_in_a_sample_is_accepted() -> None:
    inputs, targets = vectors()
    inputs[1] = torch.nan
    op = HessianOperator(LastState(batch_first=True).double(), F.mse_loss, (inputs, targets))
    assert (op @ random_vector(op)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_independent_samples_are_accepted(dtype: torch.dtype, scale: float) -> None:
    inputs, targets = (part.to(dtype) for part in vectors())
    model = LastState(batch_first=True).to(dtype)
    with torch.no_grad():
        model.last.weight.mul_(scale)
    op = HessianOperator(model, F.mse_loss, (inputs, targets), chunk_size=3)
    expected = dense_hessian(model.double(), F.mse_loss, (inputs.double(), targets.double()))
    model.to(dtype)
    vector = random_vector(op)
    assert_relatively_close(
        (op @ vector).double(), expected @ vector.double(), 1e-4 if dtype == torch.float32 else 1e-9
    )


def test_a_random_model_has_its_own_message() -> None:
    with pytest.raises(ValueError, match="two evaluations of the first chunk gave losses"):
        HessianOperator(Mixing(lambda x: x + torch.rand_like(x)).double(), F.mse_loss, vectors())


class Rewriting(nn.Linear):
    """Shrinks its weight in every forward pass, unseen by autograd's version counter."""

    def forward(self, input: Tensor) -> Tensor:
        self.weight.data.mul_(0.9)
        return super().forward(input)


class RenormalisedRows(nn.Embedding):
    """Like `nn.Embedding` with a max_norm, but the module does not have it as an attribute."""

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, max_norm=0.5)


def embedding() -> nn.Module:
    return nn.Sequential(RenormalisedRows(6, 4), nn.Flatten(), nn.Linear(20, 2))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("build", [embedding, lambda: Rewriting(5, 2)])
def test_a_forward_pass_that_rewrites_weights_is_refused(estimator, build) -> None:  # type: ignore[no-untyped-def]
    model = build().double()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    tokens = torch.randint(0, 6, (7, 5), generator=seeded(0))
    inputs = tokens if isinstance(model, nn.Sequential) else tokens.double()
    with pytest.raises(ValueError, match="forward pass rewrites parameter .*weight, expected constant.*max_norm=None"):
        estimator(model, F.mse_loss, (inputs, vectors(7)[1]))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


class Tie(nn.Module):
    """In float32, a tie between two inputs is resolved by the size of the batch, as rounding can do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 2), nn.Linear(1, 2)
        with torch.no_grad():
            self.first.weight[1] = self.first.weight[0]
            self.first.bias[1] = self.first.bias[0]

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        if inputs.dtype == torch.float32:
            hidden = hidden + 1e-7 * torch.tensor([0.0, 1.0 if len(inputs) > 2 else -1.0])
        outputs: Tensor = self.last(hidden.amax(dim=1, keepdim=True))
        return outputs


def test_rounding_at_a_tie_is_no_influence() -> None:
    torch.manual_seed(0)
    model, data = Tie(), (torch.randn(6, 3), torch.randn(6, 2))
    HessianOperator(model, F.mse_loss, data)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
