"""An estimate of a spectrum from known eigenpairs and probes, and its Wasserstein-1 error."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from estimators.spectrum.curves import Probed
from estimators.spectrum.known_eigenpairs import KnownEigenpairs
from estimators.spectrum.probe_run import ProbeRun
from estimators.spectrum.quadrature import Quadrature, averaged, gauss

LEVEL = 0.95
"""Level of the sampling error."""


@dataclass(frozen=True, eq=False)
class ProbeRules:
    """The Gauss and the averaged rule of one probe."""

    gauss: Quadrature
    averaged: Quadrature

    @classmethod
    def of(cls, run: ProbeRun) -> "ProbeRules":
        """The rules of a run. In an invariant space, the Gauss rule is exact."""
        rule = gauss(run.tridiagonal)
        return cls(rule, rule if run.ended else averaged(run.tridiagonal))


@dataclass(frozen=True, eq=False)
class SpectrumEstimate:
    """The spectrum as known eigenvalues of mass 1 / size each, and probes of the rest."""

    size: int
    known: KnownEigenpairs
    probed: Probed

    @classmethod
    def of(cls, size: int, known: KnownEigenpairs, rules: Sequence[ProbeRules]) -> "SpectrumEstimate":
        """The estimate from the rules of at least one probe."""
        gausses = Quadrature.stacked([rule.gauss for rule in rules])
        averages = Quadrature.stacked([rule.averaged for rule in rules])
        return cls(size, known, Probed(gausses, averages, size - len(known.values)))

    @property
    def rest(self) -> float:
        """The share of the eigenvalues that are not known."""
        return self.probed.dimension / self.size

    @cached_property
    def range(self) -> float:
        """The largest minus the smallest eigenvalue or Ritz value."""
        values = torch.cat([self.probed.gauss.nodes.flatten(), self.known.values])
        return float(values.max() - values.min())

    @cached_property
    def sampling_error(self) -> float:
        """Upper bound of the Wasserstein-1 error due to the number of probes, with 95% probability."""
        return self.rest * self.probed.sampling_error(LEVEL)

    @cached_property
    def quadrature_error(self) -> float:
        """The estimated Wasserstein-1 error due to the number of steps."""
        return self.rest * self.probed.quadrature_error()

    @property
    def error(self) -> float:
        """The estimated Wasserstein-1 distance from the true spectrum."""
        return self.sampling_error + self.quadrature_error + self.known.coupling / self.size
