"""The functional Hessian is the Hessian minus the Gauss-Newton matrix."""

import pytest
import torch

from estimators import GaussNewtonOperator
from estimators.operators.functional import FunctionalHessianOperator
from tests.estimators.cases import CASES, Case, mse_operator, operator, random_vector


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_are_differences(case: Case) -> None:
    op = operator(case)
    gauss_newton = GaussNewtonOperator(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    vector = random_vector(op)
    found = FunctionalHessianOperator.like(op) @ vector
    torch.testing.assert_close(found, op @ vector - gauss_newton @ vector, rtol=1e-9, atol=1e-12)


def test_products_add_to_the_count_of_the_hessian() -> None:
    op = mse_operator()
    difference = FunctionalHessianOperator.like(op.subset(0.5))
    difference @ random_vector(op)
    assert (difference.products, op.products) == (1.0, 0.5)
