"""Float32 networks that fit their data have correct curvature, and others the same bits as without float64."""

from collections.abc import Callable

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
    sampled_trace,
)
from estimators.problem.loss.loss_precision import Float64Loss, needs_float64
from tests.estimators.cases import assert_relatively_close, random_vector, seeded
from tests.estimators.fitted import Fitted, fitted, in_double
from tests.estimators.networks import dense_gauss_newton

F = nn.functional
Loss = Callable[[Tensor, Tensor], Tensor]


def own_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets)


FITTED: list[tuple[Loss, Fitted]] = [
    *((F.cross_entropy, fitted(loss, activation=kind)) for loss in (1e-3, 9e-8, 5e-9) for kind in (nn.ReLU, nn.Tanh)),
    (own_cross_entropy, fitted(5e-9)),
    (F.binary_cross_entropy_with_logits, fitted(5e-9, binary=True)),
]
cases = pytest.mark.parametrize(("loss_fn", "network"), FITTED)


def dense(loss_fn: Loss, network: Fitted) -> Tensor:
    model, pair = in_double(*network)
    return dense_hessian(model, loss_fn, pair)


@cases
def test_the_hessian_of_a_fitted_network_is_correct(loss_fn: Loss, network: Fitted) -> None:
    op, expected = HessianOperator(network[0], loss_fn, network[1], chunk_size=5), dense(loss_fn, network)
    found = op @ torch.eye(op.size)
    assert_relatively_close(found.double(), expected, 2e-5)
    assert_relatively_close(dense_hessian(network[0], loss_fn, network[1]).double(), expected, 2e-5)
    result = lanczos(op, 40, tolerance=1e-4, generator=seeded(0))
    assert result.converged
    assert result.lambda_max == pytest.approx(float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-4)


@cases
def test_the_gauss_newton_matrix_of_a_fitted_network_is_correct(loss_fn: Loss, network: Fitted) -> None:
    op = GaussNewtonOperator(network[0], loss_fn, network[1], chunk_size=5)
    model, pair = in_double(*network)
    expected = dense_gauss_newton(model, loss_fn, pair).mean(dim=0)
    assert_relatively_close((op @ torch.eye(op.size)).double(), expected, 2e-5)


@cases
def test_traces_of_a_fitted_network_are_correct(loss_fn: Loss, network: Fitted) -> None:
    model, pair = in_double(*network)
    expected = exact_trace(model, loss_fn, pair).value
    assert exact_trace(network[0], loss_fn, network[1]).value == pytest.approx(expected, rel=1e-5)
    sampled = [
        sampled_trace(net, loss_fn, data, vectors=3, generator=seeded(0)) for net, data in (network, (model, pair))
    ]
    assert sampled[0].value == pytest.approx(sampled[1].value, rel=1e-5)
    # The only sign of a single output does not change the estimate, so its error is zero but for rounding.
    rounding = 1e-5 * sampled[0].value
    assert sampled[0].standard_error == pytest.approx(sampled[1].standard_error, rel=1e-4, abs=rounding)


def test_probes_of_a_fitted_network_are_correct() -> None:
    model, pair = fitted(5e-9)
    op, expected = HessianOperator(model, F.cross_entropy, pair), dense(F.cross_entropy, (model, pair))
    vectors = torch.randint(0, 2, (10, op.size), generator=seeded(0)).double() * 2.0 - 1.0
    forms = torch.tensor([float(v.float() @ (op @ v.float())) for v in vectors], dtype=torch.float64)
    torch.testing.assert_close(forms, ((vectors @ expected) * vectors).sum(dim=1), rtol=1e-4, atol=0.0)
    trace = hutchinson(op, 100, generator=seeded(1))
    assert abs(trace.value - float(expected.trace())) < 4 * trace.standard_error
    tanh, data = fitted(5e-9, activation=nn.Tanh)
    found = hessian_trace(HessianOperator(tanh, F.cross_entropy, data), 20, generator=seeded(1))
    assert abs(found.value - float(dense(F.cross_entropy, (tanh, data)).trace())) < 1e-5 * found.value + (
        4 * found.standard_error
    )


@pytest.mark.parametrize("loss_fn", [F.cross_entropy, own_cross_entropy], ids=["torch's", "own"])
@pytest.mark.parametrize("loss", [0.5, 0.01])
def test_other_networks_keep_their_bits(loss: float, loss_fn: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pair = fitted(loss)

    def results() -> list[Tensor]:
        op = HessianOperator(model, loss_fn, pair, chunk_size=5)
        vector = random_vector(op)
        gauss_newton = GaussNewtonOperator(model, loss_fn, pair, chunk_size=5) @ vector
        sampled = sampled_trace(model, loss_fn, pair, generator=seeded(0)).per_sample
        return [op @ vector, gauss_newton, exact_trace(model, loss_fn, pair).per_sample, sampled]

    found = results()
    for module in ("problem.problem", "trace.loss_root"):
        monkeypatch.setattr(f"estimators.{module}.needs_float64", lambda *_: False)
    assert all(torch.equal(a, b) for a, b in zip(found, results(), strict=True))


def test_the_choice_follows_the_model() -> None:
    (model, pair), (other, _) = fitted(0.5), fitted(5e-9)
    op = HessianOperator(model, F.cross_entropy, pair, memory_budget=0)
    vector = random_vector(op)
    with op.keeping_graphs():
        op @ vector
        model.load_state_dict(other.state_dict())
        expected = dense(F.cross_entropy, (other, pair)) @ vector.double()
        assert_relatively_close((op @ vector).double(), expected, 2e-5)


def test_which_losses_need_float64() -> None:
    outputs, targets = torch.tensor([[20.0, 0.0, -3.0]]), torch.tensor([0])
    assert needs_float64(F.cross_entropy, outputs, targets)
    assert not needs_float64(F.cross_entropy, outputs.double(), targets)
    # Confidently wrong: the loss is large, but its curvature is as small.
    assert needs_float64(F.cross_entropy, outputs, torch.tensor([1]))
    assert not needs_float64(F.cross_entropy, outputs / 10.0, targets)
    assert not needs_float64(F.mse_loss, outputs, outputs + 1e-6)
    assert not needs_float64(lambda z, y: z.sum(), outputs, targets)
    assert not needs_float64(lambda z, y: y.float().mean(), outputs, targets)


def test_a_loss_that_does_not_accept_float64_is_evaluated_in_float32() -> None:
    weight = torch.tensor([[1.0, 0.5, 0.1]])

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs @ weight.T @ weight, targets)

    outputs, targets = torch.tensor([[30.0, 0.0, -3.0]]), torch.tensor([0])
    with pytest.raises(RuntimeError):
        Float64Loss(loss_fn)(outputs, targets)
    assert not needs_float64(loss_fn, outputs, targets)
