"""Tests the trace of the gradient covariance against per-sample gradients in float64, and its standard error."""

import math

import pytest
import torch
from torch import nn

from estimators import gradient_noise_trace
from tests.estimators.cases import CASES, Case, as_list, seeded, smooth, vectors
from tests.estimators.gradients.minibatches import gradient_of, minibatches
from tests.estimators.models import Residual, TiedEmbedding
from tests.estimators.observed_state import CountsAndFails, assert_same, snapshot

mse = nn.functional.mse_loss


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_trace_of_the_covariance_of_per_sample_gradients(case: Case, chunk_size: int | None) -> None:
    gradients = torch.stack([gradient_of(case, sample) for sample in minibatches(case, size=1)])
    distances = (gradients - gradients.mean(dim=0)).square().sum(dim=1)
    found = gradient_noise_trace(case.model(), case.loss_fn, case.batches(), chunk_size)
    scale = float(gradients.square().sum())
    assert found.value == pytest.approx(float(torch.trace(torch.cov(gradients.T))), rel=1e-10, abs=1e-13 * scale)
    torch.testing.assert_close(found.squared_distances, distances, rtol=1e-10, atol=1e-13 * scale)
    assert found.gradient_norm == pytest.approx(float(gradients.mean(dim=0).norm()), rel=1e-10)
    assert found.standard_error == pytest.approx(
        float(distances.std()) / math.sqrt(len(distances)), rel=1e-8, abs=1e-12
    )


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (lambda: Residual().eval(), torch.randn(6, 2, 4, 4, generator=seeded(0)).double()),
        (TiedEmbedding, torch.randint(0, 6, (6, 5), generator=seeded(0))),
    ],
)
def test_shared_weights_and_residual_sums(build: type[nn.Module], inputs: torch.Tensor) -> None:
    targets = torch.randint(0, 3, (6,), generator=seeded(1))
    case = Case("", build, nn.functional.cross_entropy, lambda: (inputs, targets))
    gradients = torch.stack([gradient_of(case, sample) for sample in minibatches(case, size=1)])
    found = gradient_noise_trace(case.model(), case.loss_fn, case.batches())
    assert found.value == pytest.approx(float(torch.trace(torch.cov(gradients.T))), rel=1e-10)


def test_float32_agrees_with_float64() -> None:
    case = CASES[0]
    ((inputs, targets),) = as_list(case.batches())
    expected = gradient_noise_trace(case.model(), case.loss_fn, (inputs, targets)).value
    found = gradient_noise_trace(case.model().float(), case.loss_fn, (inputs.float(), targets)).value
    assert found == pytest.approx(expected, rel=1e-5)


def test_outputs_without_a_second_dimension() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)).double()
    inputs, targets = vectors(outputs=1)
    found = gradient_noise_trace(model, mse, (inputs, targets[:, 0]))
    expected = gradient_noise_trace(model[0], mse, (inputs, targets))  # the same loss with outputs [n, 1]
    assert found.value == pytest.approx(expected.value, rel=1e-12)


def test_the_estimate_is_unbiased_and_its_standard_error_right() -> None:
    """Many draws of a few samples from a population, whose own trace is known exactly."""
    inputs, targets = vectors(400)
    model = smooth().double()
    whole = gradient_noise_trace(model, mse, (inputs, targets))
    population = whole.value * (399 / 400)  # the variance over the population, with n
    estimates, errors = [], []
    for draw in range(40):
        chosen = torch.randint(0, 400, (30,), generator=seeded(draw))
        found = gradient_noise_trace(model, mse, (inputs[chosen], targets[chosen]))
        estimates.append(found.value)
        errors.append(found.standard_error)
    spread = float(torch.tensor(estimates).std())
    assert abs(sum(estimates) / 40 - population) <= 3.0 * spread / math.sqrt(40)
    assert sum(errors) / 40 == pytest.approx(spread, rel=0.35)


def test_few_samples() -> None:
    inputs, targets = vectors()
    model = smooth().double()
    assert math.isnan(gradient_noise_trace(model, mse, (inputs[:1], targets[:1])).value)
    two = gradient_noise_trace(model, mse, (inputs[:2], targets[:2]))
    assert two.value > 0.0 and math.isnan(two.standard_error)


def test_nothing_leaks() -> None:
    model = CountsAndFails()
    data = torch.randn(4, 3), torch.randn(4, 2)
    before = snapshot(model)
    gradient_noise_trace(model, mse, data)
    assert_same(snapshot(model), before)
    model.fail = True
    with pytest.raises(RuntimeError, match="the loss failed"):
        gradient_noise_trace(model, mse, data)
    assert_same(snapshot(model), before)


def test_a_loss_that_is_a_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="loss_fn must be a mean over samples"):
        gradient_noise_trace(smooth().double(), nn.MSELoss(reduction="sum"), vectors())


def test_a_weight_penalty_is_refused() -> None:
    model = smooth().double()
    with pytest.raises(ValueError, match="parameter"):
        gradient_noise_trace(model, lambda z, y: mse(z, y) + model[0].weight.square().sum(), vectors())


def test_a_chunk_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk_size is 0, expected at least 1"):
        gradient_noise_trace(smooth().double(), mse, vectors(), chunk_size=0)
