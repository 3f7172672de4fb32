"""Coverage of the bands and errors of the part of a spectrum that is estimated by probes."""

import torch

from estimators.spectrum.curves import Curve, Probed
from estimators.spectrum.estimate import ProbeRules
from estimators.spectrum.probe_runs import probe_runs
from estimators.spectrum.quadrature import Quadrature
from tests.estimators.cases import MatrixOperator, seeded
from tests.estimators.spectrum.spectra import distance, outliers_and_bulk

DRAWS, PROBES, STEPS, WIDTH = 60, 4, 20, 0.2


def draws(eigenvalues: torch.Tensor) -> list[Probed]:
    """Estimates from independent probes."""
    op = MatrixOperator(torch.diag(eigenvalues))
    none = torch.zeros(op.size, 0, dtype=op.dtype)
    runs = probe_runs(op, DRAWS * PROBES, STEPS, seeded(0), none, lambda _: False)
    rules = [ProbeRules.of(run) for run in runs]
    groups = [rules[first : first + PROBES] for first in range(0, len(rules), PROBES)]
    return [
        Probed(Quadrature.stacked([r.gauss for r in g]), Quadrature.stacked([r.averaged for r in g]), op.size)
        for g in groups
    ]


def test_bands_and_errors_cover_the_truth() -> None:
    eigenvalues = outliers_and_bulk()
    grid = torch.linspace(-0.6, 4.4, 60, dtype=torch.float64)
    kernel = torch.exp(-0.5 * ((grid[:, None] - eigenvalues) / WIDTH) ** 2) / WIDTH / (2.0 * torch.pi) ** 0.5
    density, cumulative = kernel.mean(1), (eigenvalues <= grid[:, None]).double().mean(1)
    in_density, in_cumulative, in_error = [], [], []
    for probed in draws(eigenvalues):
        in_density.append(covers(probed.density(grid, WIDTH, 0.95), density))
        in_cumulative.append(covers(probed.cumulative(grid, 0.0, 0.95), cumulative))
        error = probed.sampling_error(0.95) + probed.quadrature_error()
        in_error.append(distance(*probed.averaged.sorted_measure(), eigenvalues) <= error)
    # Grid points of one draw are correlated, so the mean over 60 draws has an error of about 2%.
    assert float(torch.stack(in_density).double().mean()) >= 0.91
    assert float(torch.stack(in_cumulative).double().mean()) >= 0.95
    assert sum(in_error) >= 0.95 * DRAWS


def covers(curve: Curve, truth: torch.Tensor) -> torch.Tensor:
    return (curve.low <= truth + 1e-9) & (truth <= curve.high + 1e-9)


def test_standard_errors_equal_the_spread_of_estimates() -> None:
    eigenvalues = outliers_and_bulk()
    grid = torch.tensor([0.0, 0.1, 1.1, 2.55], dtype=torch.float64)
    curves = [probed.density(grid, WIDTH, 0.95) for probed in draws(eigenvalues)]
    spread = torch.stack([curve.values for curve in curves]).std(0)
    expected = torch.stack([curve.standard_error for curve in curves]).square().mean(0).sqrt()
    torch.testing.assert_close(expected, spread, rtol=0.3, atol=0)
