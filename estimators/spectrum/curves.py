"""Functions of a spectrum, estimated by random probes, with standard errors and confidence bands."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.spectrum.quadrature import Quadrature, wasserstein
from estimators.spectrum.share_interval import share_interval


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of the spectrum on a grid [m]: an estimate, its standard error over probes, and a band."""

    values: Tensor
    standard_error: Tensor
    low: Tensor
    high: Tensor

    def plus(self, low: Tensor, values: Tensor, high: Tensor, share: float) -> "Curve":
        """The curve times ``share``, plus the known part of the spectrum with its bounds."""
        return Curve(
            values=values + share * self.values,
            standard_error=share * self.standard_error,
            low=low + share * self.low,
            high=high + share * self.high,
        )


@dataclass(frozen=True, eq=False)
class Probed:
    """The part of a spectrum that is estimated by probes: ``dimension`` eigenvalues, each of mass 1 / dimension.

    The weights of an eigenspace in a probe on the unit sphere have a distribution that is known. Standard errors are
    computed from it, not from the spread of a few probes, which would be too small if no probe contains an outlier.
    """

    gauss: Quadrature
    """[probes, k]"""
    averaged: Quadrature
    """[probes, 2k - 1]"""
    dimension: int

    @property
    def _probes(self) -> int:
        return len(self.gauss.nodes)

    @property
    def _concentration(self) -> float:
        """The number A for which the weight of a share p of the eigenvalues has variance p (1 - p) / (A + 1)."""
        return self._probes * (self.dimension + 2.0) / 2.0 - 1.0

    def standard_error(self, first: Tensor, second: Tensor) -> Tensor:
        """Standard error of the mean of f over the eigenvalues, given the estimated means of f and f^2.

        v'f(A)v has variance 2 / (d + 2) (mean f^2 - (mean f)^2) for v uniform on the unit sphere.
        """
        return ((second - first.square()).clamp_min(0.0) / (self._concentration + 1.0)).sqrt()

    def density(self, grid: Tensor, width: float, level: float) -> Curve:
        """The density broadened by a Gaussian. The band includes the estimated error of the quadrature."""
        values, squares = self._kernel_means(self.averaged, grid, width)
        # The share of the eigenvalues that count at each point, each with the same value of the kernel.
        scale = torch.where(values > 0.0, squares / values, 1.0)
        low, high = (scale * p for p in share_interval(values / scale, self._concentration, level))
        quadrature = (values - self._kernel_means(self.gauss, grid, width)[0]).abs()
        error = self.standard_error(values, squares)
        return Curve(values, error, (low - quadrature).clamp_min(0.0), high + quadrature)

    def _kernel_means(self, rule: Quadrature, grid: Tensor, width: float) -> tuple[Tensor, Tensor]:
        means = []
        # One grid point at a time: memory stays [n, m].
        for point in grid:
            kernel = torch.exp(-0.5 * ((rule.nodes - point) / width).square()) / (width * math.sqrt(2.0 * math.pi))
            means.append(torch.stack([rule.mean(kernel), rule.mean(kernel.square())]))
        first, second = torch.stack(means, dim=1)
        return first, second

    def cumulative(self, grid: Tensor, shift: float, level: float) -> Curve:
        """The share of eigenvalues up to each point. The band bounds the error of the quadrature rigorously.

        Let s be the sum of the weights before a node of a probe's Gauss rule, and w the weight of the node. The true
        weight below the node lies between s and s + w (Chebyshev-Markov-Stieltjes inequalities). ``shift`` bounds the
        error of the eigenvalues.
        """
        values = _cumulative(*self.averaged.sorted_measure(), grid)
        at_least, at_most = self._bounds(grid - shift)[0], self._bounds(grid + shift)[1]
        low = share_interval(at_least, self._concentration, level)[0]
        high = share_interval(at_most, self._concentration, level)[1]
        return Curve(values, self.standard_error(values, values), low, high)

    def _bounds(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds [m] of the mean weight of the probes up to each grid point."""
        lows, highs = [], []
        for nodes, weights in zip(self.gauss.nodes, self.gauss.weights, strict=True):
            real = weights > 0.0
            sums = torch.cat([weights.new_zeros(2), weights[real].cumsum(0), weights.new_ones(1)])
            # Number of nodes up to each point.
            position = torch.searchsorted(nodes[real], grid, right=True)
            lows.append(sums[position])
            highs.append(sums[(position + 2).clamp_max(len(sums) - 1)])
        return torch.stack(lows).mean(0).clamp(0.0, 1.0), torch.stack(highs).mean(0).clamp(0.0, 1.0)

    def quadrature_error(self) -> float:
        """Estimated Wasserstein-1 error of the averaged rule: its distance from the Gauss rule.

        This is not a bound, but on networks the true error was smaller in all cases.
        """
        nodes, weights = self.averaged.sorted_measure()
        others, other_weights = self.gauss.sorted_measure()
        return wasserstein(torch.cat([nodes, others]), torch.cat([weights, -other_weights]))

    def sampling_error(self, level: float) -> float:
        """Upper bound of the Wasserstein-1 error of the probes, with the probability ``level``.

        The integral of the pointwise half-width of the confidence interval of the share of eigenvalues.
        """
        nodes, weights = self.averaged.sorted_measure()
        shares = weights.cumsum(0)[:-1].clamp(0.0, 1.0)
        low, high = share_interval(shares, self._concentration, level)
        return float((torch.maximum(high - shares, shares - low) * nodes.diff()).sum())


def _cumulative(nodes: Tensor, weights: Tensor, grid: Tensor) -> Tensor:
    sums = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
    return sums[torch.searchsorted(nodes, grid, right=True)].clamp(0.0, 1.0)
