"""Draws as many probes of a spectrum as a requested error needs, within limits."""

import math
from dataclasses import dataclass

import torch

from estimators.eigenvalues.top_eigenvalues import TopEigenvalues
from estimators.operators.protocols import SymmetricOperator
from estimators.spectrum.estimate import ProbeRules, SpectrumEstimate
from estimators.spectrum.known_eigenpairs import (
    KnownEigenpairs,
    LanczosSpace,
    converged_pairs,
    from_lanczos,
    from_top_eigenvalues,
    none_known,
)
from estimators.spectrum.probe_run import ProbeRun
from estimators.spectrum.probe_runs import probe_runs

# Number of steps between two checks of a run's quadrature error.
_CHECK_EVERY = 4
# Share of the requested error at which a run stops. The rest is left for the error of sampling.
_QUADRATURE = 0.5


@dataclass(frozen=True)
class Sampler:
    """Runs probes of an operator. Without a requested ``error``, every probe runs all steps."""

    op: SymmetricOperator
    probes: int
    steps: int
    generator: torch.Generator | None
    error: float | None
    """Requested Wasserstein-1 error, relative to the range of the spectrum."""

    def estimate(self, deflate: bool | LanczosSpace | TopEigenvalues) -> SpectrumEstimate:
        """The estimate; see `estimators.spectral_density` for the arguments."""
        if isinstance(deflate, TopEigenvalues):
            return self._sampled(from_top_eigenvalues(self.op, deflate), [])
        if not isinstance(deflate, bool):
            return self._sampled(from_lanczos(self.op, deflate), [])
        nothing = none_known(self.op)
        if not deflate or self.probes == 1:
            return self._sampled(nothing, [])
        (run,) = self._runs(1, nothing)
        first = ProbeRules.of(run)
        alone = SpectrumEstimate.of(self.op.size, nothing, [first])
        if self.suffices(alone):
            return alone
        known = converged_pairs(self.op, run.basis, run.tridiagonal, run.beta)
        # The run is a valid probe only if the others are not deflated with its own Ritz vectors.
        return self._sampled(known, [] if len(known.values) else [first])

    def suffices(self, estimate: SpectrumEstimate) -> bool:
        """Whether the requested error is reached; False if none is requested."""
        return self.error is not None and estimate.error <= self.error * estimate.range

    def _sampled(self, known: KnownEigenpairs, rules: list[ProbeRules]) -> SpectrumEstimate:
        count = 1 if self.error is not None and not rules else self.probes - len(rules)
        while True:
            rules += [ProbeRules.of(run) for run in self._runs(count, known)]
            estimate = SpectrumEstimate.of(self.op.size, known, rules)
            if self.suffices(estimate) or len(rules) == self.probes:
                return estimate
            count = min(self._missing(estimate, len(rules)), self.probes - len(rules))

    def _missing(self, estimate: SpectrumEstimate, probes: int) -> int:
        """The number of further probes to run next. The sampling error falls like 1 / sqrt(probes)."""
        assert self.error is not None
        other = estimate.error - estimate.sampling_error
        allowed = self.error * estimate.range - other
        needed = probes * (estimate.sampling_error / allowed) ** 2 if allowed > 0.0 else math.inf
        # At most twice as many as before, since few probes overestimate the sampling error.
        return max(1, math.ceil(min(needed, 2.0 * probes)) - probes)

    def _runs(self, count: int, known: KnownEigenpairs) -> list[ProbeRun]:
        return list(probe_runs(self.op, count, self.steps, self.generator, known.vectors, self._enough))

    def _enough(self, run: ProbeRun) -> bool:
        if self.error is None or run.steps % _CHECK_EVERY:
            return False
        alone = SpectrumEstimate.of(self.op.size, none_known(self.op), [ProbeRules.of(run)])
        return alone.quadrature_error <= _QUADRATURE * self.error * alone.range
