"""As many probes and steps as a requested error needs."""

import pytest
import torch

from estimators.spectrum.sampler import Sampler
from tests.estimators.cases import MatrixOperator, seeded, symmetric
from tests.estimators.spectrum.spectra import outliers_and_bulk


def sampler(error: float | None, probes: int = 30, steps: int = 60) -> Sampler:
    return Sampler(MatrixOperator(symmetric(outliers_and_bulk())), probes, steps, seeded(0), error)


@pytest.mark.parametrize("deflate", [False, True])
def test_smaller_errors_need_more_products(deflate: bool) -> None:
    products = []
    for error in (0.03, 0.01, 0.005):
        drawn = sampler(error)
        estimate = drawn.estimate(deflate)
        assert drawn.suffices(estimate) and estimate.error <= error * estimate.range
        products.append(drawn.op.products)
    assert products[0] < min(products[1:]) / 2


def test_limits_that_do_not_suffice_are_reached() -> None:
    drawn = sampler(1e-6, probes=3, steps=5)
    assert not drawn.suffices(drawn.estimate(deflate=False)) and drawn.op.products == 15


def test_without_a_requested_error_all_probes_run() -> None:
    for deflate, products in ((False, 24), (True, 32)):
        drawn = sampler(None, probes=3, steps=8)
        assert not drawn.suffices(drawn.estimate(deflate)) and drawn.op.products == products


def test_the_first_run_stays_a_probe_if_nothing_is_known() -> None:
    flat = MatrixOperator(symmetric(torch.linspace(-1.0, 1.0, 300, dtype=torch.float64)))
    estimate = Sampler(flat, 3, 4, seeded(0), None).estimate(deflate=True)
    assert len(estimate.known.values) == 0 and flat.products == 12 and len(estimate.probed.gauss.nodes) == 3
