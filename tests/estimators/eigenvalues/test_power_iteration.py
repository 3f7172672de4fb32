"""Power iteration against Algorithm 1 on dense Hessians and matrices."""

import math

import pytest
import torch
from torch import Tensor

from estimators import power_iteration
from tests.estimators.cases import CASES, Case, MatrixOperator, operator, seeded, symmetric
from tests.estimators.dense import dense_hessian_of


def algorithm_1_max_eig(hessian: Tensor, v: Tensor, i_eig: int) -> float:
    """MaxEig as printed in the paper, lines 21 to 30."""
    best_approx = 0.0
    for _ in range(i_eig):
        v = v / v.norm()
        dfdt = hessian @ v
        best_approx = float(v @ dfdt)
        v = dfdt
    return best_approx


@pytest.mark.parametrize("iterations", [1, 2, 10])
@pytest.mark.parametrize(
    "case", [case for case in CASES if "linear in the" not in case.name], ids=lambda case: case.name
)
def test_power_iteration_equals_algorithm_1(case: Case, iterations: int) -> None:
    op = operator(case)
    result = power_iteration(op, iterations, seeded(3))
    start = torch.randn(op.size, dtype=torch.float64, generator=seeded(3))
    hessian = dense_hessian_of(case)
    assert result.value == pytest.approx(algorithm_1_max_eig(hessian, start, iterations), rel=1e-9)
    assert result.history == pytest.approx(
        [algorithm_1_max_eig(hessian, start, count) for count in range(1, iterations + 1)], rel=1e-9
    )
    assert result.products == op.products == iterations


def test_returns_signed_eigenvalue_of_largest_magnitude() -> None:
    result = power_iteration(MatrixOperator(symmetric([-3.0, 2.0, 1.0, 0.5])), 100, seeded(0))
    assert result.value == pytest.approx(-3.0, rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 5])
def test_vector_and_residual_match_the_value(iterations: int) -> None:
    matrix = symmetric([4.0, 3.0, -1.0, 0.1])
    result = power_iteration(MatrixOperator(matrix), iterations, seeded(1))
    assert float(result.vector.norm()) == pytest.approx(1.0)
    assert result.value == pytest.approx(float(result.vector @ matrix @ result.vector))
    residual = float((matrix @ result.vector - result.value * result.vector).norm())
    assert result.residual == pytest.approx(residual, rel=1e-9) and residual > 0.01
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert float((eigenvalues - result.value).abs().min()) <= residual


def test_a_zero_hessian_has_eigenvalue_zero() -> None:
    result = power_iteration(MatrixOperator(torch.zeros(4, 4)), 5, seeded(0))
    assert (result.value, result.residual, result.history) == (0.0, 0.0, (0.0,) * 5)
    assert float(result.vector.norm()) == pytest.approx(1.0)


def test_nan_gives_nan() -> None:
    result = power_iteration(MatrixOperator(torch.full((4, 4), math.nan)), 3, seeded(0))
    assert math.isnan(result.value) and math.isnan(result.residual)


def test_global_generator_is_the_default() -> None:
    op = MatrixOperator(symmetric([1.0, 2.0, 3.0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert power_iteration(op, 2).history == power_iteration(op, 2, seeded(5)).history


def test_zero_iterations_are_rejected() -> None:
    with pytest.raises(ValueError, match="iterations is 0, expected at least 1"):
        power_iteration(MatrixOperator(torch.eye(3)), 0)


def test_the_repr_is_short() -> None:
    text = repr(power_iteration(MatrixOperator(torch.eye(1000)), 3, seeded(0)))
    assert len(text) < 200 and "value=" in text


def test_the_residual_is_not_below_the_rounding_of_float32() -> None:
    matrix = symmetric([3.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    result = power_iteration(MatrixOperator(matrix.float()), 5, seeded(0))
    vector = result.vector.double()
    assert abs(result.value - 3.0) <= result.residual <= 1e-5
    assert float((matrix @ vector - result.value * vector).norm()) <= result.residual
