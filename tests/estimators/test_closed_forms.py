"""Tests every estimator on Hessians with a closed form, on losses without curvature, and on NaN."""

import math

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
from estimators.problem.checks import LossFunction
from tests.estimators.cases import Pair, assert_relatively_close, random_vector, seeded

F = nn.functional
SAMPLES, FEATURES, CLASSES = 30, 5, 4


def features() -> Tensor:
    return torch.randn(SAMPLES, FEATURES, dtype=torch.float64, generator=seeded(1))


def linear(outputs: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(FEATURES, outputs, bias=False).double()


def linear_regression() -> tuple[nn.Module, LossFunction, Pair, Tensor]:
    """2 X'X / n."""
    x = features()
    targets = torch.randn(SAMPLES, 1, dtype=torch.float64, generator=seeded(2))
    return linear(1), F.mse_loss, (x, targets), 2 * x.T @ x / SAMPLES


def logistic_regression() -> tuple[nn.Module, LossFunction, Pair, Tensor]:
    """X' diag(p (1 - p)) X / n for any targets."""
    model, x = linear(1), features()
    targets = torch.randint(0, 2, (SAMPLES, 1), generator=seeded(2)).double()
    p = torch.sigmoid(model(x)).detach()
    return model, F.binary_cross_entropy_with_logits, (x, targets), x.T @ (p * (1 - p) * x) / SAMPLES


def softmax_regression() -> tuple[nn.Module, LossFunction, Pair, Tensor]:
    """The mean of (diag(p_n) - p_n p_n') x x_n x_n', a Kronecker product; the weight is [classes, features]."""
    model, x = linear(CLASSES), features()
    targets = torch.randint(0, CLASSES, (SAMPLES,), generator=seeded(2))
    p = torch.softmax(model(x).detach(), dim=1)
    terms = [torch.kron(torch.diag(q) - torch.outer(q, q), torch.outer(row, row)) for q, row in zip(p, x, strict=True)]
    return model, F.cross_entropy, (x, targets), torch.stack(terms).mean(dim=0)


@pytest.mark.parametrize("problem", [linear_regression, logistic_regression, softmax_regression])
def test_every_estimator_matches_the_closed_form(problem) -> None:  # type: ignore[no-untyped-def]
    model, loss_fn, data, hessian = problem()
    trace, eigenvalues = float(hessian.trace()), torch.linalg.eigvalsh(hessian)
    op = HessianOperator(model, loss_fn, data, chunk_size=16)
    assert_relatively_close(op @ random_vector(op), hessian @ random_vector(op), 1e-12)
    assert_relatively_close(dense_hessian(model, loss_fn, data), hessian, 1e-12)
    found = lanczos(op, op.size, tolerance=0.0, generator=seeded(0))
    assert found.converged and found.lambda_max == pytest.approx(float(eigenvalues[-1]), rel=1e-12)
    assert found.lambda_min == pytest.approx(float(eigenvalues[0]), abs=1e-12 * float(eigenvalues[-1]))
    assert power_iteration(op, 200, seeded(0)).value == pytest.approx(float(eigenvalues[-1]), rel=1e-8)
    exact = exact_trace(model, loss_fn, data, chunk_size=7)
    assert exact.exact and exact.value == pytest.approx(trace, rel=1e-12)
    whole = hessian_trace(op)
    assert whole.exact and whole.value == pytest.approx(trace, rel=1e-12)
    sampled = sampled_trace(model, loss_fn, data, vectors=200, generator=seeded(0))
    # A single output has a single random sign, and its square is one. The sampled trace is therefore exact.
    assert abs(sampled.value - trace) <= 4 * sampled.standard_error + 1e-12 * trace
    for distribution in ("gaussian", "rademacher"):
        probed = hutchinson(op, 400, distribution, generator=seeded(0))  # type: ignore[arg-type]
        assert abs(probed.value - trace) < 4 * probed.standard_error
        assert probed.frobenius == pytest.approx(float(hessian.norm()), rel=0.15)
    deflated = hutchinson(op, 3, deflate=found, generator=seeded(1))
    assert deflated.samples == pytest.approx([trace] * 3, rel=1e-10)


@pytest.mark.parametrize("problem", [linear_regression, logistic_regression, softmax_regression])
def test_hessian_and_gauss_newton_of_a_linear_model_are_equal(problem) -> None:  # type: ignore[no-untyped-def]
    model, loss_fn, data, hessian = problem()
    op = GaussNewtonOperator(model, loss_fn, data, chunk_size=7)
    assert_relatively_close(op @ random_vector(op), hessian @ random_vector(op), 1e-12)


def test_one_parameter() -> None:
    """(w x - y)^2 with x = 3: one eigenvalue, 18, which is the trace."""
    model = nn.Linear(1, 1, bias=False).double()
    data = torch.full((4, 1), 3.0, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    op = HessianOperator(model, F.mse_loss, data)
    found = lanczos(op, generator=seeded(0))
    assert (found.lambda_max, found.lambda_min, found.converged, found.products) == (18.0, 18.0, True, 1.0)
    assert power_iteration(op, 2, seeded(0)).value == 18.0
    traces = exact_trace(model, F.mse_loss, data), hessian_trace(op), sampled_trace(model, F.mse_loss, data)
    assert [trace.value for trace in traces] == pytest.approx([18.0] * 3, rel=1e-15)
    probed = hutchinson(op, 5, "rademacher", generator=seeded(0))
    assert probed.samples == (18.0,) * 5 and probed.interval() == (18.0, 18.0)
    assert hutchinson(op, 5, deflate=found, generator=seeded(0)).value == pytest.approx(18.0)


def all_estimators(model: nn.Module, loss_fn: LossFunction, data: Pair) -> dict[str, list[float]]:
    """All numbers that each estimator returns."""
    op = HessianOperator(model, loss_fn, data, chunk_size=7)
    power, eigen = power_iteration(op, 3, seeded(0)), lanczos(op, 3, generator=seeded(0))
    traces = {
        f"hutchinson, {distribution}": hutchinson(op, 3, distribution, generator=seeded(1))  # type: ignore[arg-type]
        for distribution in ("gaussian", "rademacher")
    }
    traces |= {
        "exact_trace": exact_trace(model, loss_fn, data),  # type: ignore[dict-item]
        "sampled_trace": sampled_trace(model, loss_fn, data, generator=seeded(2)),  # type: ignore[dict-item]
        "hessian_trace": hessian_trace(op, generator=seeded(3)),  # type: ignore[dict-item]
    }
    found = {name: [trace.value, getattr(trace, "standard_error", trace.value)] for name, trace in traces.items()}
    for name in ("hutchinson, gaussian", "hessian_trace"):
        found[f"interval of {name}"] = [*traces[name].interval(), *traces[name].interval(method="chebyshev")]
    found |= {"power_iteration": [power.value], "lanczos": [eigen.lambda_max, eigen.lambda_min, eigen.residual]}
    return found


def tanh_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_weights_give_nan_in_every_estimator(dtype: torch.dtype) -> None:
    model = tanh_network().to(dtype)
    with torch.no_grad():
        model[2].weight[1, 1] = math.nan  # type: ignore[index, operator]
    data = features().to(dtype), torch.randint(0, CLASSES, (SAMPLES,), generator=seeded(2))
    for name, numbers in all_estimators(model, F.cross_entropy, data).items():
        assert all(math.isnan(number) for number in numbers), name
    assert not lanczos(HessianOperator(model, F.cross_entropy, data), generator=seeded(0)).converged


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss_fn", [lambda z, y: z.mean(), lambda z, y: 0.0 * z.square().mean()])
def test_zero_hessian_gives_zero_in_every_estimator(loss_fn: LossFunction, dtype: torch.dtype) -> None:
    """A linear model with a loss that is linear in its outputs, or zero."""
    model = nn.Linear(FEATURES, 2).to(dtype)
    data = features().to(dtype), torch.zeros(SAMPLES, dtype=dtype)
    for name, numbers in all_estimators(model, loss_fn, data).items():
        assert numbers == [0.0] * len(numbers), name
    assert lanczos(HessianOperator(model, loss_fn, data), generator=seeded(0)).converged


def test_lambda_max_of_both_matrices() -> None:
    """G contains only the curvature of the loss; H also contains the curvature of the network."""
    model = tanh_network().double()
    data = features(), torch.randint(0, CLASSES, (SAMPLES,), generator=seeded(2))
    identity = torch.eye(sum(parameter.numel() for parameter in model.parameters()), dtype=torch.float64)
    for kind in (HessianOperator, GaussNewtonOperator):
        op = kind(model, F.cross_entropy, data, chunk_size=7)
        eigenvalues = torch.linalg.eigvalsh(op @ identity)
        found = lanczos(op, max_products=30, tolerance=1e-6, generator=seeded(0))
        assert found.converged and found.lambda_max == pytest.approx(float(eigenvalues[-1]), rel=1e-6)
        everything = lanczos(op, max_products=op.size, tolerance=0.0, generator=seeded(0))
        assert everything.lambda_min == pytest.approx(float(eigenvalues[0]), abs=1e-10)
        assert (float(eigenvalues[0]) < -0.01) == (kind is HessianOperator)
