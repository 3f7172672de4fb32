"""Tests batch sharpness against dense Hessians of each minibatch, and the coverage of its interval."""

import math
from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor, nn

from estimators import BatchSharpness, HessianOperator, batch_sharpness, gradient_curvature
from tests.estimators.cases import CASES, Case, Pair, seeded, smooth, vectors
from tests.estimators.gradients.minibatches import gradient_of, minibatches
from tests.estimators.observed_state import CountsAndFails, assert_same, snapshot
from tests.estimators.reference import reference

mse = nn.functional.mse_loss


def brute_force(case: Case, batch: Pair) -> float:
    gradient = gradient_of(case, batch)
    hessian = reference(replace(case, batches=lambda: batch)).hessian
    return float(gradient @ hessian @ gradient / (gradient @ gradient))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_samples_are_those_of_dense_hessians(case: Case) -> None:
    batches = minibatches(case)
    expected = [brute_force(case, batch) for batch in batches]
    found = batch_sharpness(case.model(), case.loss_fn, batches)
    assert found.samples == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert found.value == pytest.approx(mean(expected), rel=1e-10, abs=1e-14)
    assert found.standard_error == pytest.approx(stdev(expected) / math.sqrt(len(expected)), rel=1e-8, abs=1e-14)
    assert found.products == 1.0


def test_it_is_not_the_ratio_of_the_means() -> None:
    case = CASES[6]
    batches = minibatches(case)
    gradients = [gradient_of(case, batch) for batch in batches]
    hessians = [reference(replace(case, batches=lambda batch=batch: batch)).hessian for batch in batches]
    ratio_of_means = sum(float(g @ h @ g) for g, h in zip(gradients, hessians, strict=True)) / sum(
        float(g @ g) for g in gradients
    )
    found = batch_sharpness(case.model(), case.loss_fn, batches)
    assert abs(found.value / ratio_of_means - 1.0) > 0.05


def test_one_minibatch_of_all_samples_is_the_curvature_of_the_full_gradient() -> None:
    model = smooth().double()
    found = batch_sharpness(model, mse, vectors())
    assert found.value == pytest.approx(gradient_curvature(HessianOperator(model, mse, vectors())), rel=1e-12)
    assert math.isnan(found.standard_error)
    with pytest.raises(ValueError, match="there is 1 minibatch, expected at least 2"):
        found.interval()


def test_the_interval_covers_the_mean_over_all_minibatches() -> None:
    """Independent minibatches: all pairs of 16 samples are the population, so that its mean is exact."""
    inputs, targets = vectors(16, scale=2.0)
    batches = [(inputs[pair], targets[pair]) for pair in torch.combinations(torch.arange(16))]
    samples = torch.tensor(batch_sharpness(smooth().double(), mse, batches).samples)
    for count, least in ((5, 0.90), (32, 0.93)):
        runs = samples[torch.randint(len(samples), (2000, count), generator=seeded(0))]
        intervals = [BatchSharpness(0.0, 0.0, 1.0, tuple(run)).interval() for run in runs.tolist()]
        covered = sum(low <= float(samples.mean()) <= high for low, high in intervals) / len(intervals)
        assert least <= covered <= 0.97


def test_the_result_says_if_there_are_too_few_minibatches() -> None:
    few, enough = (BatchSharpness(2.0, 0.5, 1.0, (2.0,) * count) for count in (19, 20))
    assert few.too_few_batches == "expected at least 20 minibatches for the interval, got 19: pass more batches"
    assert few.too_few_batches in repr(few)
    assert enough.too_few_batches is None
    assert repr(enough) == "BatchSharpness(value=2.0, standard_error=0.5, products=1.0)"


def test_a_minibatch_without_a_gradient_gives_nan() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    ones, zeros = torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    found = batch_sharpness(model, mse, [(ones, zeros), (zeros, zeros)])
    assert math.isnan(found.value) and math.isnan(found.standard_error)
    assert all(map(math.isnan, found.interval()))
    assert found.samples[0] == pytest.approx(2.0)


def test_large_minibatches_are_differentiated_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = smooth().double()
    whole = batch_sharpness(model, mse, vectors()).value
    monkeypatch.setattr("estimators.problem.problem.default_chunk_size", lambda *_: 3)
    assert batch_sharpness(model, mse, vectors()).value == pytest.approx(whole, rel=1e-12)


def test_every_minibatch_is_checked() -> None:
    inputs, targets = vectors(6)
    halves = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]

    def sum_of_late_samples(outputs: Tensor, wanted: Tensor) -> Tensor:
        late = bool((wanted == targets[3:][: len(wanted)]).all()) and len(wanted) == 3
        return mse(outputs, wanted) * (len(wanted) if late else 1)

    with pytest.raises(ValueError, match="loss_fn must be a mean over samples"):
        batch_sharpness(smooth().double(), sum_of_late_samples, halves)


def test_nothing_leaks() -> None:
    model = CountsAndFails()
    data = torch.ones(4, 3), torch.ones(4, 2)
    before = snapshot(model)
    batch_sharpness(model, mse, [data, data])
    assert_same(snapshot(model), before)
    model.fail = True
    with pytest.raises(RuntimeError, match="the loss failed"):
        batch_sharpness(model, mse, [data, data])
    assert_same(snapshot(model), before)


def test_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="is in train mode"):
        batch_sharpness(nn.Sequential(nn.Linear(3, 2), nn.Dropout()).double(), mse, vectors())
