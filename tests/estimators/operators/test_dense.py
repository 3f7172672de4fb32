"""The dense Hessian against closed forms."""

import pytest
import torch
from torch import nn

from estimators import dense_hessian
from tests.estimators.cases import CASES, Case, labelled_vectors, vectors


def test_linear_regression_has_the_matrix_of_its_normal_equations() -> None:
    inputs, targets = vectors(outputs=1)
    hessian = dense_hessian(nn.Linear(3, 1).double(), nn.functional.mse_loss, (inputs, targets))
    design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(hessian, 2.0 / len(inputs) * design.T @ design, rtol=1e-12, atol=1e-14)


def test_softmax_regression_has_a_sum_of_kronecker_products() -> None:
    inputs, targets = labelled_vectors()
    model = nn.Linear(3, 2, bias=False).double()
    hessian = dense_hessian(model, nn.functional.cross_entropy, (inputs, targets))
    with torch.no_grad():
        probabilities = torch.softmax(model(inputs), dim=1)
    blocks = [torch.diag(p) - torch.outer(p, p) for p in probabilities]
    expected = torch.stack([torch.kron(b, torch.outer(x, x)) for b, x in zip(blocks, inputs, strict=True)]).mean(0)
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_symmetric(case: Case) -> None:
    hessian = dense_hessian(case.model(), case.loss_fn, case.batches())
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-12, atol=1e-13)


def test_the_smooth_case_is_indefinite() -> None:
    case = next(case for case in CASES if case.name == "smooth, indefinite")
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(case.model(), case.loss_fn, case.batches()))
    assert eigenvalues[0] < -0.1 and eigenvalues[-1] > 0.1


def test_it_leaves_no_gradient() -> None:
    model = nn.Linear(3, 2).double()
    dense_hessian(model, nn.functional.mse_loss, vectors())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_huge_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has 10100 parameters.*at most 10000.*use HessianOperator"):
        dense_hessian(nn.Linear(100, 100), nn.functional.mse_loss, (torch.ones(1, 100), torch.ones(1, 100)))


def test_a_loss_that_is_a_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a mean over samples"):
        dense_hessian(nn.Linear(3, 2).double(), nn.MSELoss(reduction="sum"), vectors())
