"""Confidence intervals of a share of the eigenvalues, from the weights of random probes."""

import torch
from torch import Tensor

_BISECTIONS = 45


def share_interval(shares: Tensor, concentration: float, level: float) -> tuple[Tensor, Tensor]:
    """Interval (low, high) of the expected share [m], given observed shares [m] in [0, 1].

    Let p = m / d be the share of m of d eigenvalues. Their weight, averaged over n probes on the unit sphere, is close
    to a beta variable with parameters A p and A (1 - p), where A = n d / 2 is the ``concentration``. The interval
    inverts the quantiles of this variable, as Clopper and Pearson (1934) do for counts. They are computed from a gamma
    variable of the same mean and variance, for the smaller of p and 1 - p.
    """
    tail = (1.0 - level) / 2.0
    low = _expected_share(shares, concentration, 1.0 - tail)
    high = _expected_share(shares, concentration, tail)
    low, high = torch.where(shares <= 0.0, 0.0, low), torch.where(shares >= 1.0, 1.0, high)
    return torch.where(shares.isnan(), shares, low), torch.where(shares.isnan(), shares, high)


def _expected_share(shares: Tensor, concentration: float, probability: float) -> Tensor:
    """The expected share [m] for which the observed share is the quantile of ``probability``, by bisection."""
    low, high = torch.zeros_like(shares), torch.ones_like(shares)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        # The probability of a share up to the observed one falls as the expected share rises.
        below = _cumulative(shares, middle, concentration) > probability
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2.0


def _cumulative(shares: Tensor, expected: Tensor, concentration: float) -> Tensor:
    mirrored = expected > 0.5
    mean = torch.where(mirrored, 1.0 - expected, expected).clamp_min(1e-300)
    observed = torch.where(mirrored, 1.0 - shares, shares).clamp(0.0, 1.0)
    shape = (concentration + 1.0) * mean / (1.0 - mean)
    probability = torch.special.gammainc(shape, shape * observed / mean)
    return torch.where(mirrored, 1.0 - probability, probability)
