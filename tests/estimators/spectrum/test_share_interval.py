"""Intervals of shares against the beta distribution of SciPy and by simulation."""

import pytest
import torch
from scipy import stats

from estimators.spectrum.share_interval import share_interval


@pytest.mark.parametrize("shares", [[0.0003, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999]])
def test_intervals_invert_the_quantiles_of_the_beta_distribution(shares: list[float]) -> None:
    concentration = 12_000.0
    low, high = share_interval(torch.tensor(shares, dtype=torch.float64), concentration, 0.95)
    for share, lower, upper in zip(shares, low.tolist(), high.tolist(), strict=True):
        assert lower < share < upper
        for expected, tail in ((lower, 0.975), (upper, 0.025)):
            below = stats.beta.cdf(share, concentration * expected, concentration * (1.0 - expected))
            assert below == pytest.approx(tail, abs=2e-3)


@pytest.mark.parametrize("eigenvalues", [1, 3, 40])
@pytest.mark.parametrize("probes", [1, 8])
def test_intervals_cover_the_share_of_eigenvalues(eigenvalues: int, probes: int) -> None:
    size, draws = 100, 4000
    squares = torch.randn(draws, probes, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 2
    shares = (squares[:, :, :eigenvalues].sum(2) / squares.sum(2)).mean(1)
    low, high = share_interval(shares, probes * (size + 2.0) / 2.0 - 1.0, 0.95)
    covered = ((low <= eigenvalues / size) & (eigenvalues / size <= high)).double().mean()
    assert 0.94 <= float(covered) <= 0.96


def test_intervals_of_no_and_of_all_eigenvalues_and_nan() -> None:
    low, high = share_interval(torch.tensor([0.0, 1.0, torch.nan], dtype=torch.float64), 400.0, 0.95)
    assert low[0] == 0.0 < high[0] < 0.02 and high[1] == 1.0 > low[1] > 0.98
    assert low[2].isnan() and high[2].isnan()
