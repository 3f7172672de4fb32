"""Tests the curvature along the gradient against dense matrices."""

import math

import pytest
import torch
from torch import nn

from estimators import GaussNewtonOperator, HessianOperator, PreconditionedOperator, gradient_curvature
from estimators.gradients.gradient_curvature import curvature_along
from tests.estimators.cases import (
    CASES,
    Case,
    MatrixOperator,
    counting_operator,
    mse_operator,
    operator,
    seeded,
    smooth,
    symmetric,
    vectors,
)
from tests.estimators.dense import dense_hessian_of
from tests.estimators.reference import reference


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_quotient_with_the_dense_hessian(case: Case) -> None:
    op = operator(case)
    g, hessian = op.gradient(), dense_hessian_of(case)
    # The residual of a linear loss has no curvature.
    expected = float(g @ hessian @ g / (g @ g))
    assert gradient_curvature(op) == pytest.approx(expected, rel=1e-10, abs=1e-15)
    assert op.products == 1.0


def test_gauss_newton_blocks_and_geometries() -> None:
    case = CASES[6]
    op = GaussNewtonOperator(case.model(), case.loss_fn, case.batches())
    g, matrix = op.gradient(), reference(case).gauss_newton
    assert gradient_curvature(op) == pytest.approx(float(g @ matrix @ g / (g @ g)), rel=1e-10)
    block = operator(case).restricted(["2.weight"])
    part = slice(20, 40)
    of_block, within = g[part], dense_hessian_of(case)[part, part]
    assert gradient_curvature(block) == pytest.approx(float(of_block @ within @ of_block / (of_block @ of_block)))
    diagonal = torch.rand(op.size, dtype=torch.float64, generator=seeded(0)) + 0.1
    step = g / diagonal
    expected = float(step @ matrix @ step / (step @ g))
    assert gradient_curvature(PreconditionedOperator(op, diagonal)) == pytest.approx(expected, rel=1e-10)


def test_the_gradient_and_the_product_share_graphs() -> None:
    model, op = counting_operator(memory_budget=2**30)
    gradient_curvature(op)
    assert model.forwards == 4


def test_tiny_gradients_in_float32_keep_their_curvature() -> None:
    model = smooth()
    for parameter in model.parameters():
        parameter.data *= 1e-3
    inputs, targets = (part.float() for part in vectors())
    op = HessianOperator(model, nn.functional.mse_loss, (inputs, targets))
    for scale in (1.0, 1e-25):
        assert curvature_along(op, scale * op.gradient()) == pytest.approx(gradient_curvature(op), rel=1e-3)


def test_a_zero_gradient_has_no_curvature() -> None:
    op = mse_operator()
    assert math.isnan(curvature_along(op, torch.zeros(op.size, dtype=torch.float64)))


def test_a_matrix_without_a_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="op is a MatrixOperator without a gradient, expected .*: pass a Hess"):
        gradient_curvature(MatrixOperator(symmetric([1.0])))  # type: ignore[arg-type]
