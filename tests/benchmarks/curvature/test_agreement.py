"""Agreement with naive double backward."""

import math

import torch

from benchmarks.curvature.agreement import Agreement, compare_numbers, compare_products, compare_traces
from benchmarks.curvature.naive import ProductOperator, hessian_product
from estimators import HessianOperator, hessian_trace
from tests.benchmarks.curvature.test_naive import problem


def test_products_are_compared_as_vectors() -> None:
    vector, expected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    found = compare_products(torch.tensor([0.0, 2.2]), vector, expected)
    assert (found.value, found.expected) == (0.0, 0.0)
    assert math.isclose(found.difference, 0.1, rel_tol=1e-5)
    assert not found.close
    assert compare_products(expected, vector, expected).close


def test_nan_agrees_with_nothing() -> None:
    assert not compare_numbers(math.nan, 1.0).close
    assert not Agreement(1.0, 1.0, math.nan, standard_error=0.1).close


def test_estimates_may_differ_by_several_standard_errors() -> None:
    assert Agreement(1.5, 1.0, 0.5, standard_error=0.1).close
    assert not Agreement(1.5, 1.0, 0.5, standard_error=0.05).close
    assert str(Agreement(1.5, 1.0, 0.5, standard_error=0.1)) == "5.0 standard errors of 10%"


def test_a_trace_agrees_with_that_of_naive_products() -> None:
    small = problem()
    operator = HessianOperator(small.model, small.loss, (small.inputs, small.targets))
    trace = hessian_trace(operator, 20, sampled=True, generator=torch.Generator().manual_seed(0))
    found = compare_traces(trace, ProductOperator(small, hessian_product(small, 7)), 20)
    assert found.value == trace.value
    assert found.standard_error is not None
    assert found.standard_error * abs(found.expected) > trace.standard_error / 2
    assert found.difference < 4.0 * found.standard_error
