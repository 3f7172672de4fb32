"""The spectrum as a ridge."""

import numpy as np
import pytest
from scipy.stats import norm

from orchestrator.analysis.figures.quantities.spectral_density import (
    POINTS,
    RIDGES,
    density_data,
    draw_density,
    lowest_drawn,
    smoothed,
    summarise_density,
)
from orchestrator.store.frames import Frames
from tests.analysis import planted

NODES, WEIGHTS = (0.0, 1.0, 10.0), (0.9, 0.09, 0.01)


def _frames(records: int) -> Frames:
    spectrum = {"hessian_spectral_density": NODES, "hessian_spectral_density_weights": WEIGHTS}
    errors = {"hessian_spectral_density_error": np.full((4, records), 0.25)}
    return planted.frames(planted.two_rates(2, records - 1), errors, samples=dict.fromkeys(range(records), spectrum))


def test_nodes_become_gaussians() -> None:
    grid = np.linspace(-5, 15, 4001)
    nodes, weights = np.array(NODES), np.array(WEIGHTS)
    found = smoothed(nodes, weights, grid, 0.3)
    expected = sum(weight * norm.pdf(grid, node, 0.3) for node, weight in zip(NODES, WEIGHTS, strict=True))
    assert found == pytest.approx(expected)
    assert np.trapezoid(found, grid) == pytest.approx(1.0)


def test_up_to_ten_records_of_the_first_trial_of_each_setting() -> None:
    data = density_data(_frames(25))
    assert data.setting.unique().tolist() == ["lr=0.01", "lr=0.05"]
    assert len(data) == 2 * RIDGES * POINTS
    assert {0, 24} <= set(data.epoch)
    ridge = data[(data.setting == "lr=0.01") & (data.epoch == 24)]
    assert np.trapezoid(ridge.density, ridge.eigenvalue) == pytest.approx(1.0, abs=1e-3)
    assert data.one_eigenvalue.unique() == pytest.approx([0.01 * norm.pdf(0, scale=0.1)])
    assert "error of the records is at most 0.25" in summarise_density(data)
    draw_density(data)


@pytest.mark.parametrize("parameters", [10**6, 10**8])
def test_a_single_eigenvalue_of_a_large_network_is_drawn(parameters: int) -> None:
    weights = (0.5, 0.5 - 1 / parameters, 1 / parameters)
    spectrum = {"hessian_spectral_density": (0.0, 0.1, 40.0), "hessian_spectral_density_weights": weights}
    found = planted.frames(planted.two_rates(1, 1), {"loss_train": np.ones((2, 2))}, samples={0: spectrum})
    data = density_data(found)
    assert data.density[data.eigenvalue.sub(40.0).abs() < 0.1].max() > lowest_drawn(data)


def test_a_spectrum_of_one_point_has_a_width() -> None:
    found = planted.frames(
        planted.two_rates(1, 1),
        {"loss_train": np.ones((2, 2))},
        samples={0: {"hessian_spectral_density": (0.0,), "hessian_spectral_density_weights": (1.0,)}},
    )
    assert np.isfinite(density_data(found).density).all()


def test_a_sweep_without_spectra_has_no_figure(full: Frames) -> None:
    assert density_data(full).empty
