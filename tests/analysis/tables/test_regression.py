"""Compares the wild cluster bootstrap with refitting every draw, and checks its significance level."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.tables.regression import fit, wild_bootstrap_p


def test_bootstrap_holds_its_level_with_few_trials_while_plain_errors_do_not() -> None:
    """Regressor and noise are nearly constant within a trial, the worst case for errors that ignore the clusters."""
    naive = bootstrap = 0
    for seed in range(150):
        generator = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(8), 20)
        x = generator.normal(size=8)[clusters] + 0.3 * generator.normal(size=160)
        y = generator.normal(size=8)[clusters] + 0.3 * generator.normal(size=160)
        design = np.column_stack([np.ones(160), x])
        bootstrap += wild_bootstrap_p(design, y, clusters, 1, seed) <= 0.05
        rows = pd.DataFrame({"trial_id": clusters, "x": x, "y": y})
        model = fit(rows, "y", ["x"])
        assert model is not None
        naive += model["x"].p <= 0.05
    assert naive > 60
    assert bootstrap <= 16


def test_bootstrap_matches_refitting_every_draw() -> None:
    """Fits the model to each of the same draws."""
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(7), 6)
    design = np.column_stack([np.ones(42), generator.normal(size=(42, 2))])
    y = 0.2 * design[:, 1] + generator.normal(size=42)
    rest = np.delete(design, 1, axis=1)
    fitted = rest @ np.linalg.lstsq(rest, y, rcond=None)[0]

    def t(response: np.ndarray) -> float:
        inverse = np.linalg.inv(design.T @ design)
        beta = inverse @ design.T @ response
        error = response - design @ beta
        scores = np.array([design[clusters == g].T @ error[clusters == g] for g in range(7)])
        return abs(float(beta[1])) / float(np.sqrt((inverse @ scores.T @ scores @ inverse)[1, 1]))

    webb = np.sqrt([1.5, 1.0, 0.5])
    draws = np.random.default_rng(3).choice(np.concatenate([-webb, webb]), size=(999, 7))
    every = [t(y), *(t(fitted + (y - fitted) * weights[clusters]) for weights in draws)]
    expected = np.mean(np.array(every) >= every[0] * (1 - 1e-9))
    assert wild_bootstrap_p(design, y, clusters, 1, 3) == pytest.approx(expected)


def test_returns_none_for_too_few_changes_or_a_constant_regressor() -> None:
    rows = pd.DataFrame({"trial_id": ["a"] * 8, "x": [1.0] * 8, "y": np.arange(8.0)})
    assert fit(rows, "y", ["x"]) is None
    assert fit(rows.iloc[:0], "y", ["x"]) is None
