"""Tests that every estimator rejects wrong targets and losses, and accepts batches of different lengths."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    dense_hessian,
    exact_trace,
    hessian_trace,
    hutchinson,
    lanczos,
    sampled_trace,
)

Loss = Callable[[Tensor, Tensor], Tensor]
every = pytest.mark.parametrize(
    "estimator", [HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian]
)
of_outputs = pytest.mark.parametrize("estimator", [GaussNewtonOperator, exact_trace, sampled_trace])

CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])
OUT_OF_RANGE = torch.tensor([0, 1, 2, 0, 1, 3])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@every
@pytest.mark.parametrize(
    ("loss_fn", "targets", "message"),
    [
        (cross_entropy, OUT_OF_RANGE, r"a target is 3, expected a class in 0\.\.2"),
        (nn.CrossEntropyLoss(weight=torch.ones(3)), OUT_OF_RANGE, r"a target is 3, expected a class in 0\.\.2"),
        (cross_entropy, CLASSES.int(), r"class indices are torch.int32.*targets.long\(\)"),
        (cross_entropy, CLASSES[:, None], r"shape \(4, 1\).*expected shape \(4,\)"),
        (cross_entropy, torch.ones(6, 3, dtype=torch.float64) / 3, "targets are torch.float64, expected torch.float32"),
        (mse_loss, torch.zeros(6, 1), r"shape \(4, 1\).*expected shape \(4, 3\)"),
        (mse_loss, torch.zeros(6), r"shape \(4,\).*expected shape \(4, 3\)"),
        (mse_loss, torch.zeros(6, 3, dtype=torch.int64), "targets are torch.int64, expected torch.float32"),
        (mse_loss, torch.zeros(6, 3, dtype=torch.float64), "targets are torch.float64, expected torch.float32"),
    ],
)
def test_wrong_targets_are_rejected(
    estimator: Callable[..., object], loss_fn: Loss, targets: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimator(network(), loss_fn, (torch.randn(6, 4), targets))


def test_a_wrong_target_in_the_last_chunk_is_rejected_by_the_first_product() -> None:
    operator = HessianOperator(network(), cross_entropy, (torch.randn(6, 4), OUT_OF_RANGE), chunk_size=2)
    with pytest.raises(ValueError, match="a target is 3"):
        operator.matvec(torch.ones(operator.size))


def detached(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.detach(), targets)


@of_outputs
def test_a_loss_without_gradient_is_rejected(estimator: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"has no gradient, expected a differentiable loss: remove detach\(\)"):
        estimator(network(), detached, (torch.randn(6, 4), CLASSES))


@of_outputs
def test_a_loss_without_second_derivative_is_rejected(estimator: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="loss_fn has no second derivative"):
        estimator(network(), nn.MultiMarginLoss(), (torch.randn(6, 4), CLASSES))


class Tagger(nn.Module):
    """Scores of three classes at each position of a sequence of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.recurrent = nn.GRU(3, 4, batch_first=True)
        self.scores = nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        hidden, _ = self.recurrent(self.embedding(words))
        return self.scores(hidden).transpose(1, 2)


def test_batches_of_different_lengths_have_the_curvature_of_the_mean_loss() -> None:
    torch.manual_seed(0)
    model = Tagger().double()
    batches = [
        (torch.randint(7, (size, length)), torch.randint(3, (size, length)))
        for size, length in ((4, 2), (3, 5), (5, 3))
    ]
    hessian = dense_hessian(model, cross_entropy, batches)
    shares = [len(inputs) / 12 for inputs, _ in batches]
    summed = sum(
        share * dense_hessian(model, cross_entropy, batch) for share, batch in zip(shares, batches, strict=True)
    )
    torch.testing.assert_close(hessian, summed, rtol=1e-12, atol=1e-12)
    operator = HessianOperator(model, cross_entropy, batches, chunk_size=2)
    vector = torch.randn(operator.size, dtype=torch.float64)
    torch.testing.assert_close(operator.matvec(vector), hessian @ vector, rtol=1e-10, atol=1e-12)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert lanczos(operator, tolerance=1e-9).lambda_max == pytest.approx(largest, rel=1e-8)
    trace = hessian_trace(operator)
    assert abs(trace.value - float(hessian.trace())) < max(1e-9, 6 * trace.standard_error)
    estimated = hutchinson(operator, 64)
    assert abs(estimated.value - float(hessian.trace())) < 6 * estimated.standard_error


class SparseEmbedding(nn.Module):
    """Scores of the mean of three embedded words, with sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3, sparse=True)
        self.scores = nn.Linear(3, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.scores(self.embedding(words).tanh().mean(dim=1))


def test_graphs_with_sparse_gradients_are_kept() -> None:
    torch.manual_seed(0)
    model = SparseEmbedding().double()
    batches = (torch.randint(5, (6, 3)), torch.randint(2, (6,)))
    hessian = dense_hessian(model, cross_entropy, batches)
    found = lanczos(HessianOperator(model, cross_entropy, batches), tolerance=1e-9)
    assert found.lambda_max == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-8)
