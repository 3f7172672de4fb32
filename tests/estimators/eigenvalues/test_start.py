"""When a coarse stage is the default."""

import pytest
import torch

from estimators.eigenvalues.start import StartRule
from tests.estimators.cases import CASES, MatrixOperator, operator


def test_auto_needs_samples_and_fewer_products_than_dimensions() -> None:
    sampled, plain = operator(CASES[0]), MatrixOperator(torch.eye(50))
    start = torch.ones(sampled.size, dtype=sampled.dtype)
    assert StartRule.of(sampled, None, "auto", 10).coarse_fraction == 0.1
    assert StartRule.of(sampled, None, "auto", 1).coarse_fraction is None
    assert StartRule.of(sampled, None, "auto", sampled.size).coarse_fraction is None
    assert StartRule.of(sampled, start, "auto", 10).coarse_fraction is None
    assert StartRule.of(plain, None, "auto", 10).coarse_fraction is None
    assert StartRule.of(sampled, None, None, 10).coarse_fraction is None


def test_unknown_words_are_rejected() -> None:
    with pytest.raises(ValueError, match="coarse_fraction is 'some', expected a share of the samples"):
        StartRule.of(operator(CASES[0]), None, "some", 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("initial", [None, torch.ones(50, dtype=torch.float64)])
def test_a_start_without_a_coarse_stage_costs_nothing(initial: torch.Tensor | None) -> None:
    op, random = MatrixOperator(torch.eye(50).double()), torch.arange(50.0).double()
    with StartRule.of(op, initial, "auto", 10).apply(op, random) as start:
        assert op.products == 0.0
        if initial is None:
            assert start is random
        else:
            assert float((start - initial).norm() / initial.norm()) == pytest.approx(0.01)
