"""Compares Table 1 with statsmodels and with planted coefficients."""

import pandas as pd
import pytest
import statsmodels.formula.api as smf

from orchestrator.analysis.published import CONSTANT, TABLE1
from orchestrator.analysis.quantities import LAMBDA_MAX, VALIDATION
from orchestrator.analysis.tables.table1 import REGRESSORS, RESPONSES, stars, table1, table1_csv, table1_latex
from orchestrator.store.frames import Frames


def test_planted_coefficients_are_recovered(frames: Frames) -> None:
    model = table1(frames).columns[3].model
    assert model is not None
    assert model[LAMBDA_MAX].estimate == pytest.approx(-0.05, abs=4 * model[LAMBDA_MAX].clustered_error)
    assert model[VALIDATION].estimate == pytest.approx(0.7, abs=4 * model[VALIDATION].clustered_error)
    assert model[LAMBDA_MAX].clustered_error < 0.02
    assert model.n == 16 * 39


@pytest.mark.parametrize("epoch_0", [False, True])
def test_models_match_statsmodels_formulas(frames: Frames, epoch_0: bool) -> None:
    frame = frames.epochs.sort_values(["trial_id", "epoch"]).copy()
    for column in (*RESPONSES, VALIDATION):
        frame[column] *= 100
    delta = frame.groupby("trial_id")[[*RESPONSES, VALIDATION, LAMBDA_MAX]].diff()
    delta["trial"] = pd.factorize(frame.trial_id)[0]
    delta = delta[frame.epoch >= (1 if epoch_0 else 2)]
    for column in table1(frames, epoch_0).columns:
        names = REGRESSORS[column.regressors]
        ols = smf.ols(f"{column.response} ~ {' + '.join(names)}", delta)
        plain, clustered = ols.fit(), ols.fit(cov_type="cluster", cov_kwds={"groups": delta.trial}, use_t=True)
        fixed = smf.ols(f"{column.response} ~ {' + '.join(names)} + C(trial)", delta).fit()
        model = column.model
        assert model is not None
        assert (model.f, model.aic, model.r2) == pytest.approx((plain.fvalue, plain.aic, plain.rsquared))
        for name in (CONSTANT, *names):
            statsmodels_name = "Intercept" if name == CONSTANT else name
            term = model[name]
            assert term.estimate == pytest.approx(plain.params[statsmodels_name])
            assert term.standard_error == pytest.approx(plain.bse[statsmodels_name])
            assert term.p == pytest.approx(plain.pvalues[statsmodels_name])
            assert term.clustered_error == pytest.approx(clustered.bse[statsmodels_name])
            if name != CONSTANT:
                assert term.fixed_effects_estimate == pytest.approx(fixed.params[name])
                without = smf.ols(f"{column.response} ~ {' + '.join({*names} - {name}) or '1'}", delta).fit()
                assert term.partial_r2 == pytest.approx((without.ssr - plain.ssr) / without.ssr)


def test_csv_has_one_row_per_model_and_term_with_the_published_numbers(frames: Frames) -> None:
    frame = table1_csv([table1(frames), table1(frames, epoch_0=True)])
    assert len(frame) == 2 * (2 + 3 + 2 + 3)
    row = frame[(frame.response == "accuracy_ood") & (frame.model == "maxeig + val acc") & (frame.term == LAMBDA_MAX)]
    assert row.published_estimate.tolist() == [-0.0453, -0.0453]
    assert row.published_stars.tolist() == ["***", "***"]
    assert row.n.tolist() == [16 * 39, 16 * 40]
    assert len(TABLE1) == 4


def test_csv_has_the_same_rows_if_the_sweep_has_no_epochs(empty: Frames) -> None:
    frame = table1_csv([table1(empty)])
    assert len(frame) == 10
    assert frame.estimate.isna().all()


def test_latex_is_one_tabular(frames: Frames) -> None:
    latex = table1_latex(table1(frames))
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    assert all(line.count("&") == 4 for line in latex.splitlines() if line.startswith((r"$\Delta", "F-test", "N ")))


@pytest.mark.parametrize(("p", "expected"), [(0.009, "***"), (0.04, "**"), (0.2, "†"), (float("nan"), "")])
def test_stars_match_the_paper(p: float, expected: str) -> None:
    assert stars(p) == expected
