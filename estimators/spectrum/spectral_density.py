"""The spectral density of a symmetric operator by stochastic Lanczos quadrature, with its error."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.eigenvalues.top_eigenvalues import TopEigenvalues
from estimators.operators.protocols import SymmetricOperator, keeping_graphs, without_autocast
from estimators.spectrum.curves import Curve
from estimators.spectrum.estimate import LEVEL, SpectrumEstimate
from estimators.spectrum.known_eigenpairs import LanczosSpace
from estimators.spectrum.sampler import Sampler


@dataclass(frozen=True)
class Moment:
    """The mean of a power of the eigenvalues, in units of the eigenvalues to this power."""

    value: float
    standard_error: float
    """Standard error over probes, computed from the quadrature. Zero for the part of known eigenvalues."""


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """Result of `estimators.spectral_density`. Eigenvalues are in units of the loss per squared parameter.

    The spectrum is a sum of two parts. Each of the q ``known`` eigenvalues has mass 1 / size. The mean of the rules in
    ``nodes`` and ``weights`` has the remaining mass, 1 - q / size.
    """

    size: int
    """Number of eigenvalues."""
    nodes: Tensor = field(repr=False)
    """[probes, steps], float64 on the CPU: the Ritz values of each probe, ascending. A probe that ends early, since its
    Krylov space is invariant, repeats its last Ritz value with weight zero."""
    weights: Tensor = field(repr=False)
    """[probes, steps]: the squared first components of the Ritz vectors, with sum 1 for each probe."""
    known: Tensor = field(repr=False)
    """[q]: eigenvalues found by the deflating Lanczos run; empty without deflation."""
    products: float
    """Products used, excluding those of a given result."""
    error: float
    """Estimated Wasserstein-1 distance from the true spectrum, in the units of eigenvalues.

    The sum of ``sampling_error``, ``quadrature_error`` and the error of the known eigenvalues."""
    sampling_error: float
    """The part of ``error`` due to the number of probes. An upper bound with 95% probability."""
    quadrature_error: float
    """The part of ``error`` due to the number of steps. An estimate, not a bound."""
    range: float
    """The largest minus the smallest node."""
    converged: bool | None
    """Whether ``error`` is at most the requested one; None if none was requested."""
    _estimate: SpectrumEstimate = field(repr=False)

    @classmethod
    def of(cls, estimate: SpectrumEstimate, products: float, converged: bool | None) -> "SpectralDensity":
        """The result for an estimate."""
        return cls(
            size=estimate.size,
            nodes=estimate.probed.gauss.nodes,
            weights=estimate.probed.gauss.weights,
            known=estimate.known.values,
            products=products,
            error=estimate.error,
            sampling_error=estimate.sampling_error,
            quadrature_error=estimate.quadrature_error,
            range=estimate.range,
            converged=converged,
            _estimate=estimate,
        )

    @property
    def relative_error(self) -> float:
        """``error`` relative to ``range``, or ``error`` if the range is 0."""
        return self.error / self.range if self.range else self.error

    def measure(self) -> tuple[Tensor, Tensor]:
        """The estimated spectrum, whose Wasserstein-1 error is ``error``: nodes and their masses [m], with sum 1.

        The averaged rules of the probes and the known eigenvalues.
        """
        nodes, weights = self._estimate.probed.averaged.sorted_measure()
        masses = torch.full_like(self.known, 1.0 / self.size)
        return torch.cat([nodes, self.known]), torch.cat([self._estimate.rest * weights, masses])

    def moment(self, power: int) -> Moment:
        """The mean of the eigenvalues to this power, trace(A^power) / size.

        The trace is ``size * moment(1).value``. Without known eigenvalues the value is the mean of v'A^power v over
        probes v of unit length, if power is at most 2 steps - 1.

        Raises:
            ValueError: if power is negative.
        """
        if power < 0:
            raise ValueError(f"power is {power}, expected at least 0: 1 is the mean of the eigenvalues")
        rule = self._estimate.probed.gauss
        first, second = rule.mean(rule.nodes**power), rule.mean(rule.nodes ** (2 * power))
        known = float((self.known**power).sum()) / self.size
        error = float(self._estimate.probed.standard_error(first, second))
        return Moment(known + self._estimate.rest * float(first), self._estimate.rest * error)

    def density(self, grid: Tensor, width: float, level: float = LEVEL) -> Curve:
        """The density [m] of the eigenvalues, broadened by a Gaussian of this standard deviation, on a grid [m].

        Its integral is 1. The band covers the broadened true density at a point with about the probability ``level``.
        It includes the probes' randomness and an estimate of the quadrature's error, which is small if ``width`` is at
        least range / steps. Values are float64 on the CPU.

        Raises:
            ValueError: if the grid is not one-dimensional, width is not positive, or level is outside (0, 1).
        """
        grid = _checked(grid, level)
        if not 0.0 < width < math.inf:
            raise ValueError(f"width is {width}, expected a positive number: range / steps is usual")
        distance = (grid[:, None] - self.known) / width
        known = torch.exp(-0.5 * distance.square()).sum(dim=1) / (width * math.sqrt(2.0 * math.pi)) / self.size
        return self._estimate.probed.density(grid, width, level).plus(known, known, known, self._estimate.rest)

    def cumulative(self, grid: Tensor, level: float = LEVEL) -> Curve:
        """The share [m] of eigenvalues up to each point of a grid [m].

        The band covers the true share at a point with at least the probability ``level``, for every spectrum: it uses
        the Chebyshev-Markov-Stieltjes bounds of the quadrature. It is several times wider than the actual errors.

        Raises:
            ValueError: if the grid is not one-dimensional, or level is outside (0, 1).
        """
        grid = _checked(grid, level)
        shift = self._estimate.known.largest_shift
        low, known, high = ((self.known <= (grid + by)[:, None]).sum(dim=1) / self.size for by in (-shift, 0.0, shift))
        return self._estimate.probed.cumulative(grid, shift, level).plus(low, known, high, self._estimate.rest)


@without_autocast
def spectral_density(
    op: SymmetricOperator,
    probes: int = 8,
    steps: int = 40,
    generator: torch.Generator | None = None,
    error: float | None = None,
    *,
    deflate: bool | LanczosSpace | TopEigenvalues = True,
) -> SpectralDensity:
    """Estimates the distribution of all eigenvalues by stochastic Lanczos quadrature (Ubaru, Chen and Saad, 2017).

    For a random vector v of unit length, the expectation of v'f(A)v is the mean of f over the eigenvalues. ``steps``
    products of Lanczos with full reorthogonalisation give the Gauss rule of v'f(A)v. Densities use Laurie's averaged
    rule of the same products. On small networks its Wasserstein-1 error was mostly 0.5 to 0.95 times that of the Gauss
    rule.

    Deflation gives isolated eigenvalues, such as the outliers of a network, their exact weight 1 / size. A Lanczos run
    of ``steps`` products from a random start finds them, and the probes are orthogonal to their Ritz vectors. At equal
    products the error was half as large or smaller on trained networks, and little smaller on untrained ones
    (docs/decisions/spectral-density.md). A single probe is not deflated.

    ``error`` requests a Wasserstein-1 distance between estimated and true spectrum, relative to the range of the
    spectrum. Probes and steps are then upper limits. A run stops when its estimated quadrature error is below half of
    ``error``, and as many probes run as the sampling error requires. ``converged`` is False if the limits do not
    suffice.

    Runs probes in blocks that share graphs, if the operator has ``matmat``. Needs memory for ``steps`` vectors per
    probe of a block, at most 512 MiB or one probe, and for the known eigenvectors.

    Args:
        op: the operator.
        probes: number of probes, at least 1.
        steps: number of products per probe, at least 1.
        generator: draws the probes, on any device. None: torch's global CPU generator.
        error: requested Wasserstein-1 error relative to the range, for example 0.01. None: uses all probes and steps.
        deflate: True, False, or a result of `estimators.lanczos` or `estimators.top_eigenvalues` for *this* operator.
            Only the converged Ritz pairs of a result are used, so its start may come from a coarse stage, although such
            a vector would bias the density as a probe. Do not draw the probes with the seed of its start.

    Raises:
        ValueError: if probes or steps is below 1, error is not positive, or the given result does not fit.
    """
    _check(probes, steps, error)
    products_before = op.products
    sampler = Sampler(op, probes, steps, generator, error)
    with keeping_graphs(op):
        estimate = sampler.estimate(deflate)
    converged = None if error is None else sampler.suffices(estimate)
    return SpectralDensity.of(estimate, op.products - products_before, converged)


def _check(probes: int, steps: int, error: float | None) -> None:
    if probes < 1:
        raise ValueError(f"probes is {probes}, expected at least 1: 8 is usual")
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1: 40 is usual")
    if error is not None and not 0.0 < error < math.inf:
        raise ValueError(f"error is {error}, expected a positive share of the range: 0.01 is usual")


def _checked(grid: Tensor, level: float) -> Tensor:
    if grid.ndim != 1:
        raise ValueError(f"the grid has shape {tuple(grid.shape)}, expected one dimension: torch.linspace(-1, 1, 200)")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, expected a probability in (0, 1): for 95% pass 0.95")
    return grid.detach().to("cpu", torch.float64)
