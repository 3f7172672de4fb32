"""Hutchinson's trace estimator: the paper's Trace, with its uncertainty, and with part of the trace taken exactly."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator, block_product, keeping_graphs
from estimators.operators.random_vectors import Distribution, random_vector
from estimators.trace.intervals import FEWEST_PROBES, Method, fewest_probes, half_width, variance_degrees

# Of probes whose products are taken at once; products and their copies take three times as much again. It holds 16
# probes for a million float32 parameters; more would save little: one product costs 6F + 3F/k.
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class HutchinsonResult:
    """What :func:`estimators.trace.hutchinson` found. The trace is in units of the loss per squared parameter."""

    value: float
    """The mean of ``samples``: an unbiased estimate of the trace."""
    standard_error: float
    """The samples' standard deviation (n - 1 in the denominator) / sqrt(n); NaN for a single probe."""
    frobenius: float
    """Its square is an unbiased estimate of ||A||_F^2: the mean of ||A z||^2, with deflation of what stands for it."""
    products: float
    """Products it took, those behind the deflating basis not included."""
    samples: tuple[float, ...]
    """One unbiased estimate of the trace per probe."""
    squared_norms: tuple[float, ...]
    """||M z||^2 per probe, M the matrix that the probes see: A, or PAP with deflation."""
    variance: float
    """Of one sample, unbiased, from M z and not from the spread of the samples: 2 ||M||_F^2 for Gaussian probes,
    2 (||M||_F^2 - sum M_ii^2) for Rademacher probes. It is surer than ``standard_error``. NaN for a single probe."""

    @property
    def effective_rank(self) -> float:
        """trace(A)^2 / ||A||_F^2: of a semidefinite matrix of k equal eigenvalues k, of any between 1 and the rank.

        An indefinite matrix may have less than 1, down to zero. The numerator is unbiased, the ratio up to O(1 / n).
        NaN for a single probe and for a zero matrix.
        """
        if self.frobenius == 0.0:
            return math.nan
        squared = self.value**2 - self.variance / len(self.samples)
        return (squared if squared != squared else max(squared, 0.0)) / self.frobenius**2

    @property
    def too_few_probes(self) -> str | None:
        """Why Student's interval may hold the trace more or less often than it says; None where it does not."""
        count, (_, degrees) = len(self.samples), self.variance_of_mean("student")
        if count >= (fewest := fewest_probes(self.samples, degrees)):
            return None
        why = "" if fewest == FEWEST_PROBES else " where few eigenvalues of both signs make the trace"
        return f"{count} probes, expected {fewest} for Student's interval{why}: take those, or Chebyshev's"

    def interval(self, level: float = 0.95, method: Method = "student") -> tuple[float, float]:
        """(low, high), meant to hold the trace with probability ``level``.

        Both take their width from ``variance`` and allow for what is not known of it: few probes, or few eigenvalues
        that carry it. "student" supposes that the mean of the samples is nearly normal, and is too sure or too
        cautious with very few probes: see ``too_few_probes``. "chebyshev" supposes no distribution, takes the
        largest variance that there can be, 2 ||M||_F^2, and is at least twice as wide. A single probe says nothing:
        (-inf, inf).

        What neither can know: whether Rademacher probes have missed an eigenvector that lies on two or three
        parameters alone, which all of a few probes can be orthogonal to.

        Raises:
            ValueError: if level is outside (0, 1), or for another method.
        """
        half = half_width(*self.variance_of_mean(method), level, method)
        return self.value - half, self.value + half

    def variance_of_mean(self, method: Method) -> tuple[float, float]:
        """Behind the intervals: (variance of ``value``, as how many normal numbers tell it); (inf, 1) for one probe."""
        count = len(self.samples)
        if count == 1:
            return math.inf, 1.0
        variance = self.variance if method == "student" else 2.0 * math.fsum(self.squared_norms) / count
        return variance / count, variance_degrees(self.squared_norms, variance)

    def __repr__(self) -> str:
        warning = f", too_few_probes={self.too_few_probes!r}" if self.too_few_probes else ""
        return (
            f"HutchinsonResult(value={self.value}, standard_error={self.standard_error}, frobenius={self.frobenius},"
            f" products={self.products}{warning})"
        )


class DeflatingSubspace(Protocol):
    """What deflation needs, and a :class:`estimators.LanczosResult` has."""

    @property
    def basis(self) -> Tensor:
        """Q [size, k], orthonormal columns."""
        ...

    @property
    def tridiagonal(self) -> Tensor:
        """Q'AQ [k, k]."""
        ...


def hutchinson(
    op: SymmetricOperator,
    probes: int = 10,
    distribution: Distribution = "gaussian",
    deflate: DeflatingSubspace | None = None,
    generator: torch.Generator | None = None,
) -> HutchinsonResult:
    """The trace of A as the mean of z'Az over random probes z (Hutchinson, 1990; Trace of Algorithm 1, equation (7)).

    The variance of one sample is 2 ||A||_F^2 for Gaussian probes, the paper's, and 2 (||A||_F^2 - sum A_ii^2) for
    Rademacher probes, which is never more. With ``deflate``, trace(Q'AQ) is exact and the probes see only the
    complement P = I - QQ': trace(Q'AQ) + z'PAPz is unbiased with variance 2 ||PAP||_F^2 for Gaussian probes. The norms
    of the products give ||A||_F, the effective rank and the width of the intervals for nothing.

    Products are taken of several probes at once where the operator can, as many as fit into 64 MiB or one: 6F + 3F/k
    each for k at once. The numbers are those of one at a time.

    Args:
        op: the operator, one product a probe.
        probes: at least 1; the standard error needs 2.
        distribution: "gaussian" or "rademacher".
        deflate: a Lanczos result of *this* operator over all of its data. One of a subset, or of other parameters, has
            another Q'AQ and biases the trace; so does one whose start came from the same stream as the probes.
        generator: the probes' stream, on any device; None: torch's global CPU stream.

    Raises:
        ValueError: if probes is below 1, for another distribution, or a basis that does not fit the operator.
    """
    if probes < 1:
        raise ValueError(f"probes is {probes}, expected at least 1, and 2 for a standard error: the paper takes 10")
    if distribution not in ("gaussian", "rademacher"):
        raise ValueError(f'distribution is {distribution!r}, expected "gaussian" or "rademacher"')
    if deflate is not None:
        _check_subspace(op, deflate)
    products_before = op.products
    seen = _Seen(distribution, deflate)
    block = max(1, min(probes, _BLOCK_BYTES // (op.size * op.dtype.itemsize)))
    with keeping_graphs(op) if block < probes else nullcontext():
        for first in range(0, probes, block):
            drawn = [seen.probe(random_vector(op, generator, distribution)) for _ in range(min(block, probes - first))]
            for probe, product in zip(drawn, _products(op, [probe.projected for probe in drawn]), strict=True):
                seen.add(probe, product)
    return seen.result(op.products - products_before)


@dataclass(frozen=True)
class _Probe:
    drawn: Tensor
    """z [size], where the diagonal is asked for (Rademacher probes)."""
    projected: Tensor
    """P z: z itself without deflation."""


class _Seen:
    """What the probes have shown of M: A, or PAP with deflation. On the device until the end."""

    def __init__(self, distribution: Distribution, deflate: DeflatingSubspace | None) -> None:
        self._distribution, self._deflate = distribution, deflate
        # Scalars per probe: z'Mz, ||Mz||^2, and what its product says of ||A||_F^2.
        self._forms: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._frobenius: list[Tensor] = []
        # The mean of z * Mz, entry by entry, an unbiased estimate of M's diagonal (Bekas et al., 2007), and the sum of
        # squared deviations from it: by Welford's recursion, which is exactly zero where they are all equal.
        self._diagonal: Tensor | None = None
        self._deviations: Tensor | None = None

    def probe(self, drawn: Tensor) -> _Probe:
        """A probe from a random vector."""
        if self._deflate is None:
            return _Probe(drawn, drawn)
        projected = drawn - self._deflate.basis @ (self._deflate.basis.T @ drawn)
        return _Probe(drawn if self._distribution == "rademacher" else projected, projected)

    def add(self, probe: _Probe, product: Tensor) -> None:
        """Takes note of a probe whose product with A this is."""
        self._forms.append(torch.dot(probe.projected, product))
        self._frobenius.append(torch.dot(product, product))
        if self._deflate is not None:
            # ||A||_F^2 = ||Q'AQ||_F^2 + ||AP||_F^2 + ||Q'AP||_F^2, of which AP z and Q'AP z tell the last two.
            inside = self._deflate.basis.T @ product
            product = product - self._deflate.basis @ inside
            self._frobenius[-1] = self._frobenius[-1] + torch.dot(inside, inside)
        self._norms.append(torch.dot(product, product))
        if self._distribution == "rademacher":
            self._add_diagonal(probe.drawn * product)

    def _add_diagonal(self, entries: Tensor) -> None:
        if self._diagonal is None or self._deviations is None:
            self._diagonal, self._deviations = entries, entries.new_zeros(())
            return
        before = entries - self._diagonal
        self._diagonal = self._diagonal + before / len(self._norms)
        self._deviations = self._deviations + torch.dot(before, entries - self._diagonal)

    def result(self, products: float) -> HutchinsonResult:
        """All of it."""
        probes = len(self._forms)
        deviations = torch.zeros_like(self._forms[0]) if self._deviations is None else self._deviations
        # One wait for the device, after the last product.
        *numbers, deviation = torch.stack([*self._forms, *self._norms, *self._frobenius, deviations]).tolist()
        forms, norms, frobenius = numbers[:probes], numbers[probes:-probes], numbers[-probes:]
        known = None if self._deflate is None else self._deflate.tridiagonal
        exact, inside = (0.0, 0.0) if known is None else (float(known.trace()), float(known.square().sum()))
        samples = tuple(exact + form for form in forms)
        value = _mean(samples)
        variance = 2.0 * _mean(norms) if probes > 1 else math.nan
        if self._distribution == "rademacher" and probes > 1:
            # The variances of the entries of z * Mz add up to ||M||_F^2 without the diagonal's share.
            variance = min(variance, 2.0 * deviation / (probes - 1))
        return HutchinsonResult(
            value=value,
            standard_error=_standard_error(samples, value),
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
        # A copy, which lies as the product of a single vector does: a dot product may round otherwise elsewhere.
        yield product[:, column].clone()


def _mean(numbers: Sequence[float]) -> float:
    # math.fsum refuses infinities of both signs, which a network that diverges has.
    total = math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)
    return total / len(numbers)


def _standard_error(samples: tuple[float, ...], mean: float) -> float:
    count = len(samples)
    if count == 1:
        return math.nan
    return math.sqrt(math.fsum((sample - mean) ** 2 for sample in samples) / (count - 1) / count)


def _check_subspace(op: SymmetricOperator, deflate: DeflatingSubspace) -> None:
    rows, columns = deflate.basis.shape
    found = (rows, deflate.basis.dtype, deflate.basis.device)
    if found != (op.size, op.dtype, op.device) or deflate.tridiagonal.shape != (columns, columns):
        raise ValueError(
            f"deflate has a basis of shape {(rows, columns)}, {found[1]}, {found[2]} and a tridiagonal of shape"
            f" {tuple(deflate.tridiagonal.shape)}, expected [{op.size}, k], {op.dtype}, {op.device} and [k, k]:"
            " pass a Lanczos result of this operator"
        )
