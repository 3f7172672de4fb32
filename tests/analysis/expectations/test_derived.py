"""Derived quantities against their figures and values by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.expectations.derived import sweep_interval, with_derived
from orchestrator.analysis.figures.probes import probes_data
from orchestrator.analysis.quantities import LAMBDA_MAX
from orchestrator.analysis.tables.table1 import table1
from tests.analysis.planted import full, shift, two_rates


def test_probes_have_the_mean_of_figure_2() -> None:
    found = full(np.random.default_rng(0), two_rates(2, 20))
    epochs = with_derived(found).epochs
    figure = probes_data(found)
    for condition in ("strict", "relaxed"):
        part = figure[(figure.condition == condition) & (figure.formula == "published")]
        means = epochs.groupby("trial_id", sort=False)[f"paper_probes_{condition}"].mean()
        assert means.to_numpy() == pytest.approx(part["mean"].to_numpy())


def test_power_iterations_are_counted_until_one_percent() -> None:
    found = full(np.random.default_rng(0), two_rates(1, 20))
    epochs = with_derived(found).epochs
    # The quotients are 10 (1 - 2^-k), k = 1 ... 10: within 1% of the last, 10 (1 - 2^-10), from k = 7 on.
    assert epochs.paper_power_iterations.dropna().unique() == [7.0]
    assert epochs.paper_power_iterations.notna().sum() == 2 * 5


def test_the_deviation_is_that_of_the_smallest_fraction() -> None:
    found = full(np.random.default_rng(0), two_rates(1, 20))
    remeasured = found.epochs.assign(**{"fraction-1.0/hessian_trace": found.epochs.hessian_trace * 1.25})
    deviations = with_derived(replace(found, epochs=remeasured)).epochs.paper_fraction_deviation
    assert deviations.to_numpy() == pytest.approx(np.full(len(remeasured), 0.2))
    assert with_derived(found).epochs.paper_fraction_deviation.isna().all()


def test_coefficients_are_those_of_table_1() -> None:
    found = shift(np.random.default_rng(0), effect=-0.2)
    term = table1(found).columns[3].model
    interval = sweep_interval(found, "table1/ood_with_validation")
    assert term is not None
    assert interval is not None
    assert (interval.value, interval.standard_error) == (term[LAMBDA_MAX].estimate, term[LAMBDA_MAX].clustered_error)
    assert (interval.low, interval.high) == pytest.approx(term[LAMBDA_MAX].interval(0.9, interval.trials))
    assert interval.required_trials(interval.low, math.inf) in (interval.trials, interval.trials + 1)


def test_nothing_is_derived_from_too_few_records() -> None:
    found = full(np.random.default_rng(0), two_rates(1, 2))
    one = found.epochs[found.epochs.trial_id == found.epochs.trial_id.iloc[0]]
    assert sweep_interval(replace(found, epochs=pd.DataFrame(one)), "table1/test") is None
