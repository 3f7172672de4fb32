"""Hutchinson's trace estimator (the paper's Trace), with its uncertainty and optional deflation."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.eigenvalues.lanczos_subspace import LanczosSubspace, check_subspace
from estimators.operators.inner_products import coefficients, dot
from estimators.operators.protocols import SymmetricOperator, block_product, keeping_graphs, without_autocast
from estimators.operators.random_vectors import Distribution, random_vector
from estimators.trace.intervals import MIN_PROBES, Method, degrees_of_freedom, half_width, min_probes

# Bytes of a block of probes; its products and copies need three times as much in addition. This is enough for 16
# float32 probes of a million parameters. Larger blocks would save little: a product in a block of k costs 6F + 3F/k.
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class HutchinsonResult:
    """Result of `estimators.hutchinson`. The trace is in units of the loss per squared parameter."""

    value: float
    """The mean of ``samples``: an unbiased estimate of the trace."""
    standard_error: float
    """Standard deviation of the samples (with n - 1), divided by sqrt(n). NaN for a single probe."""
    frobenius: float
    """Square root of an unbiased estimate of ||A||_F^2."""
    products: float
    """Products used, excluding the products of the Lanczos run used for deflation."""
    samples: tuple[float, ...]
    """One unbiased estimate of the trace per probe."""
    squared_norms: tuple[float, ...]
    """||M z||^2 per probe, with M = A without deflation and M = PAP with deflation."""
    variance: float
    """Estimate of the variance of one sample; NaN for a single probe.

    2 ||M||_F^2 for Gaussian probes, 2 (||M||_F^2 - sum M_ii^2) for Rademacher probes. It is computed from M z, not from
    the spread of the samples, and is more precise than ``standard_error``."""

    @property
    def effective_rank(self) -> float:
        """trace(A)^2 / ||A||_F^2, which is k for a matrix with k equal nonzero eigenvalues.

        It is between 1 and the rank for semidefinite matrices, and between 0 and the rank for indefinite matrices. The
        estimate of the numerator is unbiased except that it is at least 0; the ratio has a bias of O(1 / n). NaN for a
        single probe and for a zero matrix.
        """
        if self.frobenius == 0.0:
            return math.nan
        squared = self.value**2 - self.variance / len(self.samples)
        return (squared if squared != squared else max(squared, 0.0)) / self.frobenius**2

    @property
    def too_few_probes(self) -> str | None:
        """Why the coverage of the Student t interval may differ from its level; None if there are enough probes."""
        count, (_, degrees) = len(self.samples), self.variance_of_mean("student")
        if count >= (expected := min_probes(self.samples, degrees)):
            return None
        why = "" if expected == MIN_PROBES else ", since a few eigenvalues of both signs dominate the trace"
        return (
            f"{count} probes, expected at least {expected} for the Student t interval{why}: take more probes or use the"
            " Chebyshev interval"
        )

    def interval(self, level: float = 0.95, method: Method = "student") -> tuple[float, float]:
        """The confidence interval (low, high) of the trace at ``level``.

        Its width is computed from ``variance`` and includes the uncertainty of ``variance``, which is large for few
        probes or few eigenvalues. "student" assumes that the mean is close to normal. With very few probes its coverage
        differs from ``level``; see ``too_few_probes``. "chebyshev" assumes no distribution, uses the largest possible
        variance 2 ||M||_F^2, and is at least twice as wide at 95%. For a single probe: (-inf, inf).

        Both may miss the trace in one case: if an eigenvector is nonzero in two or three parameters only, a few
        Rademacher probes may all be orthogonal to it.

        Raises:
            ValueError: if level is outside (0, 1) or the method is unknown.
        """
        half = half_width(*self.variance_of_mean(method), level, method)
        return self.value - half, self.value + half

    def variance_of_mean(self, method: Method) -> tuple[float, float]:
        """The variance of ``value`` and its degrees of freedom; (inf, 1) for a single probe."""
        count = len(self.samples)
        if count == 1:
            return math.inf, 1.0
        variance = self.variance if method == "student" else 2.0 * math.fsum(self.squared_norms) / count
        return variance / count, degrees_of_freedom(self.squared_norms, variance)

    def __repr__(self) -> str:
        warning = f", too_few_probes={self.too_few_probes!r}" if self.too_few_probes else ""
        return (
            f"HutchinsonResult(value={self.value}, standard_error={self.standard_error}, frobenius={self.frobenius},"
            f" products={self.products}{warning})"
        )


@without_autocast
def hutchinson(
    op: SymmetricOperator,
    probes: int = 10,
    distribution: Distribution = "gaussian",
    deflate: LanczosSubspace | None = None,
    generator: torch.Generator | None = None,
) -> HutchinsonResult:
    """Estimates the trace of A as the mean of z'Az over random probes z (Hutchinson, 1990; Algorithm 1, equation (7)).

    The variance of one sample is 2 ||A||_F^2 for Gaussian probes (as in the paper). For Rademacher probes it is
    2 (||A||_F^2 - sum A_ii^2), which is never larger. With ``deflate``, trace(Q'AQ) is exact and the probes estimate
    the rest with P = I - QQ': trace(Q'AQ) + z'PAPz is unbiased, with variance 2 ||PAP||_F^2 for Gaussian probes. The
    norms of the products also give ||A||_F, the effective rank and the width of the intervals at no extra cost.

    If the operator has ``matmat``, it multiplies blocks of k probes, up to 64 MiB, at 6F + 3F/k per product. The
    results are bit-identical to those of single products.

    Args:
        op: the operator; one product per probe.
        probes: at least 1; the standard error needs 2.
        distribution: "gaussian" or "rademacher".
        deflate: a Lanczos result of *this* operator over all of its data. The Q'AQ of another matrix biases the trace.
            So do probes that are drawn with the same seed as the Lanczos start vector.
        generator: draws the probes, on any device. None: torch's global CPU generator.

    Raises:
        ValueError: if probes is below 1, the distribution is unknown, or the basis does not fit the operator.
    """
    check_probes(probes, distribution)
    if deflate is not None:
        check_subspace(op, deflate)
    products_before = op.products
    sums = _ProbeStatistics(distribution, deflate)
    block = max(1, min(probes, _BLOCK_BYTES // (op.size * op.dtype.itemsize)))
    with keeping_graphs(op) if block < probes else nullcontext():
        for first in range(0, probes, block):
            drawn = [random_vector(op, generator, distribution) for _ in range(min(block, probes - first))]
            projected = [sums.projected(probe) for probe in drawn]
            for probe, vector, product in zip(drawn, projected, _products(op, projected), strict=True):
                sums.add(probe, vector, product)
    return sums.result(op.products - products_before)


def check_probes(probes: int, distribution: str) -> None:
    """Raises ValueError if probes is below 1 or the distribution is unknown."""
    if probes < 1:
        raise ValueError(f"probes is {probes}, expected at least 1, and 2 for a standard error: the paper takes 10")
    if distribution not in ("gaussian", "rademacher"):
        raise ValueError(f'distribution is {distribution!r}, expected "gaussian" or "rademacher"')


class _ProbeStatistics:
    """Statistics of the probes for M (A, or PAP with deflation), kept on the device until the end."""

    def __init__(self, distribution: Distribution, deflate: LanczosSubspace | None) -> None:
        self._distribution, self._deflate = distribution, deflate
        # Three scalars per probe: z'Mz, ||Mz||^2, and the contribution to ||A||_F^2.
        self._scalars: list[Tensor] = []
        # The mean of z * Mz, an unbiased estimate of M's diagonal (Bekas et al., 2007), and the sum of squared
        # deviations from the mean. Welford's recursion gives exactly zero if all values are equal.
        self._diagonal: Tensor | None = None
        self._deviations: Tensor | None = None

    def projected(self, probe: Tensor) -> Tensor:
        """P z; z without deflation."""
        if self._deflate is None:
            return probe
        return probe - self._deflate.basis @ coefficients(self._deflate.basis.T, probe)

    def add(self, probe: Tensor, projected: Tensor, product: Tensor) -> None:
        form, frobenius = dot(projected, product), dot(product, product)
        if self._deflate is not None:
            # ||A||_F^2 = ||Q'AQ||_F^2 + ||AP||_F^2 + ||Q'AP||_F^2; the product estimates the last two.
            inside = coefficients(self._deflate.basis.T, product)
            product = product - self._deflate.basis @ inside
            frobenius = frobenius + torch.dot(inside, inside)
        self._scalars += [form, dot(product, product), frobenius]
        if self._distribution == "rademacher":
            self._add_diagonal(probe * product)

    def _add_diagonal(self, entries: Tensor) -> None:
        if self._diagonal is None or self._deviations is None:
            self._diagonal, self._deviations = entries, entries.new_zeros(())
            return
        before = entries - self._diagonal
        self._diagonal = self._diagonal + before / (len(self._scalars) // 3)
        self._deviations = self._deviations + torch.dot(before, entries - self._diagonal)

    def result(self, products: float) -> HutchinsonResult:
        deviations = torch.zeros_like(self._scalars[0]) if self._deviations is None else self._deviations.double()
        # Synchronizes with the device once, after the last product.
        *numbers, deviation = torch.stack([*self._scalars, deviations]).tolist()
        forms, norms, frobenius = numbers[::3], numbers[1::3], numbers[2::3]
        probes = len(forms)
        known = None if self._deflate is None else self._deflate.tridiagonal
        exact, inside = (0.0, 0.0) if known is None else (float(known.trace()), float(known.square().sum()))
        samples = tuple(exact + form for form in forms)
        value = _mean(samples)
        variance = 2.0 * _mean(norms) if probes > 1 else math.nan
        if self._distribution == "rademacher" and probes > 1:
            # The variances of the entries of z * Mz add up to ||M||_F^2 - sum M_ii^2.
            variance = min(variance, 2.0 * deviation / (probes - 1))
        squares = math.fsum((sample - value) ** 2 for sample in samples) if probes > 1 else math.nan
        return HutchinsonResult(
            value=value,
            standard_error=math.sqrt(squares / (probes - 1) / probes) if probes > 1 else math.nan,
            frobenius=math.sqrt(inside + _mean(frobenius)),
            products=products,
            samples=samples,
            squared_norms=tuple(norms),
            variance=variance,
        )


def _products(op: SymmetricOperator, vectors: list[Tensor]) -> Iterator[Tensor]:
    if len(vectors) == 1:
        yield op.matvec(vectors[0])
        return
    product = block_product(op, torch.stack(vectors, dim=1))
    for column in range(len(vectors)):
        # A contiguous copy, because dot products of a strided column may round differently.
        yield product[:, column].clone()


def _mean(numbers: Sequence[float]) -> float:
    # math.fsum raises an error for infinities of both signs, which occur in diverged networks.
    total = math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)
    return total / len(numbers)
