"""Table 1's arithmetic beside statsmodels called directly, and planted coefficients."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from orchestrator.analysis.tables.epoch_changes import changes
from orchestrator.analysis.tables.regression import CONSTANT, fit, wild_bootstrap_p
from orchestrator.analysis.tables.table1 import (
    LAMBDA,
    PUBLISHED,
    REGRESSORS,
    RESPONSES,
    VALIDATION,
    stars,
    table1,
    table1_csv,
    table1_latex,
)
from tests.analysis import planted


@pytest.fixture(scope="module")
def epochs() -> pd.DataFrame:
    return planted.shift(np.random.default_rng(0), effect=-0.05, test=-0.002).epochs


def test_planted_coefficients_are_recovered(epochs: pd.DataFrame) -> None:
    model = table1(epochs).columns[3].model
    assert model is not None
    assert model[LAMBDA].estimate == pytest.approx(-0.05, abs=4 * model[LAMBDA].clustered_error)
    assert model[VALIDATION].estimate == pytest.approx(0.7, abs=4 * model[VALIDATION].clustered_error)
    assert model[LAMBDA].clustered_error < 0.02
    assert model.n == 16 * 39


@pytest.mark.parametrize("epoch_0", [False, True])
def test_the_four_models_are_those_of_statsmodels(epochs: pd.DataFrame, epoch_0: bool) -> None:
    frame = epochs.sort_values(["trial_id", "epoch"]).copy()
    for column in (*RESPONSES, VALIDATION):
        frame[column] *= 100
    delta = frame.groupby("trial_id")[[*RESPONSES, VALIDATION, LAMBDA]].diff()
    delta["trial"] = pd.factorize(frame.trial_id)[0]
    delta = delta[frame.epoch >= (1 if epoch_0 else 2)]
    for column in table1(epochs, epoch_0).columns:
        names = REGRESSORS[column.regressors]
        ols = smf.ols(f"{column.response} ~ {' + '.join(names)}", delta)
        plain, clustered = ols.fit(), ols.fit(cov_type="cluster", cov_kwds={"groups": delta.trial}, use_t=True)
        fixed = smf.ols(f"{column.response} ~ {' + '.join(names)} + C(trial)", delta).fit()
        model = column.model
        assert model is not None
        assert (model.f, model.aic, model.r2) == pytest.approx((plain.fvalue, plain.aic, plain.rsquared))
        for name in (CONSTANT, *names):
            theirs = "Intercept" if name == CONSTANT else name
            term = model[name]
            assert term.estimate == pytest.approx(plain.params[theirs])
            assert term.standard_error == pytest.approx(plain.bse[theirs])
            assert term.p == pytest.approx(plain.pvalues[theirs])
            assert term.clustered_error == pytest.approx(clustered.bse[theirs])
            if name != CONSTANT:
                assert term.fixed_effects_estimate == pytest.approx(fixed.params[name])
                without = smf.ols(f"{column.response} ~ {' + '.join({*names} - {name}) or '1'}", delta).fit()
                assert term.partial_r2 == pytest.approx((without.ssr - plain.ssr) / without.ssr)


def test_the_bootstrap_holds_its_level_with_few_trials_where_clustered_errors_do_not() -> None:
    """Regressor and noise both constant within a trial: the worst case for errors that take epochs one by one."""
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


def test_the_bootstrap_is_the_one_that_draws_and_fits_every_time() -> None:
    """The same draws, each fitted by itself."""
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


def test_gaps_and_what_is_not_finite_are_left_out_and_counted(epochs: pd.DataFrame) -> None:
    whole = changes(epochs, [LAMBDA])
    assert (whole.gaps, whole.not_finite) == (0, 0)
    first = epochs.trial_id == epochs.trial_id[0]
    holed = epochs[~(first & (epochs.epoch == 10))].copy()
    holed.loc[first & (epochs.epoch == 20), LAMBDA] = np.inf
    found = changes(holed, [LAMBDA])
    assert (found.gaps, found.not_finite) == (1, 2)
    assert len(found.rows) == len(whole.rows) - 4


def test_changes_do_not_cross_trials_and_accuracies_are_points() -> None:
    frame = pd.DataFrame(
        {"trial_id": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "accuracy_test": [0.1, 0.2, 0.9, 0.85]}
    )
    assert changes(frame, ["accuracy_test"]).rows.accuracy_test.tolist() == pytest.approx([10, -5])


def test_too_few_changes_or_a_regressor_that_never_changes_give_no_model() -> None:
    rows = pd.DataFrame({"trial_id": ["a"] * 8, "x": [1.0] * 8, "y": np.arange(8.0)})
    assert fit(rows, "y", ["x"]) is None
    assert fit(rows.iloc[:0], "y", ["x"]) is None


def test_the_csv_has_a_row_for_each_model_and_term_and_the_papers_numbers_beside(epochs: pd.DataFrame) -> None:
    frame = table1_csv([table1(epochs), table1(epochs, epoch_0=True)])
    assert len(frame) == 2 * (2 + 3 + 2 + 3)
    row = frame[(frame.response == "accuracy_ood") & (frame.model == "maxeig + val acc") & (frame.term == LAMBDA)]
    assert row.published_estimate.tolist() == [-0.0453, -0.0453]
    assert row.published_stars.tolist() == ["***", "***"]
    assert row.n.tolist() == [16 * 39, 16 * 40]
    assert len(PUBLISHED) == 4


def test_the_csv_of_a_sweep_without_epochs_has_the_same_rows(epochs: pd.DataFrame) -> None:
    frame = table1_csv([table1(epochs.iloc[:0])])
    assert len(frame) == 10
    assert frame.estimate.isna().all()


def test_latex_is_a_tabular(epochs: pd.DataFrame) -> None:
    latex = table1_latex(table1(epochs))
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    assert all(line.count("&") == 4 for line in latex.splitlines() if line.startswith((r"$\Delta", "F-test", "N ")))


@pytest.mark.parametrize(("p", "expected"), [(0.009, "***"), (0.04, "**"), (0.2, "†"), (float("nan"), "")])
def test_stars_are_the_papers(p: float, expected: str) -> None:
    assert stars(p) == expected
