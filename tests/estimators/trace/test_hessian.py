"""Tests tr(H) against dense matrices: it is unbiased, has a correct error, and needs no probes if exact."""

import math
import statistics
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    HessianTrace,
    dense_hessian,
    exact_trace,
    hessian_trace,
    hutchinson,
    sampled_trace,
)
from estimators.operators.functional import FunctionalHessianOperator
from estimators.operators.random_vectors import Distribution
from estimators.problem.chunking import exact_trace_chunk_size
from tests.estimators.cases import CASES, Case, MatrixOperator, Pair, convolutional, images, operator, seeded, vectors
from tests.estimators.dense import dense_hessian_of
from tests.estimators.networks import NETWORKS, Network, labels, not_convex, values
from tests.estimators.observed_state import CountsAndFails, assert_same, snapshot

F = nn.functional

SMOOTH = [case for case in CASES if case.name in ("smooth, indefinite", "attention", "tied weights")]
SMOOTH.append(
    Case("GELU", lambda: nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 2)), F.mse_loss, lambda: vectors(20))
)
PIECEWISE = [case for case in CASES if case.name in ("convolution, ReLU, max pool", "batch norm in eval mode")]
smooth_cases = pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case.name)


@cache
def probed_matrix(case: Case) -> Tensor:
    """The matrix whose trace `hessian_trace` estimates by probes."""
    op = operator(case)
    return FunctionalHessianOperator.like(op) @ torch.eye(op.size, dtype=op.dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_probed_matrix_is_hessian_minus_gauss_newton(case: Case) -> None:
    gauss_newton = GaussNewtonOperator(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    expected = dense_hessian_of(case) - gauss_newton @ torch.eye(gauss_newton.size, dtype=gauss_newton.dtype)
    found = probed_matrix(case)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * (1 + float(expected.abs().max())))


# Torch's second derivative of weight_norm is wrong, so HessianOperator refuses it.
TWICE_DIFFERENTIABLE = [network for network in NETWORKS if network.name != "parametrised weight"]


@pytest.mark.parametrize("network", TWICE_DIFFERENTIABLE, ids=lambda network: network.name)
def test_probed_matrix_is_hessian_minus_gauss_newton_for_every_network(network: Network) -> None:
    for loss_fn, targets in ((F.cross_entropy, labels(4)), (not_convex, values(4))):
        op = HessianOperator(network.model(), loss_fn, (network.inputs(4), targets), chunk_size=3)
        vector = torch.randn(op.size, dtype=op.dtype, generator=seeded(7))
        gauss_newton = GaussNewtonOperator(network.model(), loss_fn, (network.inputs(4), targets), chunk_size=3)
        expected = op @ vector - gauss_newton @ vector
        found = FunctionalHessianOperator.like(op) @ vector
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", PIECEWISE, ids=lambda case: case.name)
def test_piecewise_linear_networks_are_exact_without_probes(case: Case) -> None:
    op = operator(case)
    trace = hessian_trace(op)
    hessian = dense_hessian_of(case)
    assert trace.value == pytest.approx(float(hessian.trace()), rel=1e-12)
    assert trace.exact and "piecewise linear" in trace.reason
    assert (trace.standard_error, trace.difference, trace.samples, trace.probes) == (0.0, 0.0, (), None)
    assert trace.products == op.products == 0.0
    assert trace.interval() == trace.interval(method="chebyshev") == (trace.value, trace.value)


def test_gauss_newton_trace_is_bit_identical_to_exact_trace() -> None:
    model, pair = convolutional().double(), images(40)
    for chunk_size in (None, 6):
        op = HessianOperator(model, F.cross_entropy, pair, chunk_size)
        size = None if chunk_size is None else exact_trace_chunk_size(chunk_size, op.device)
        expected = exact_trace(model, F.cross_entropy, pair, size)
        trace = hessian_trace(op)
        assert trace.value == trace.gauss_newton == expected.value
        assert trace.gauss_newton_trace.per_parameter == expected.per_parameter
        assert torch.equal(trace.gauss_newton_trace.per_sample, expected.per_sample)


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
@smooth_cases
def test_hessian_trace_is_unbiased_with_correct_error(case: Case, distribution: Distribution) -> None:
    # One chunk, since other tests cover chunks.
    op, count = HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=20), 600
    hessian = dense_hessian_of(case)
    trace = hessian_trace(op, count, distribution, generator=seeded(0))
    assert not trace.exact and trace.reason and trace.products == op.products == count
    assert trace.gauss_newton == pytest.approx(exact_trace(case.model(), case.loss_fn, case.batches()).value)
    assert trace.value == trace.gauss_newton + trace.difference
    assert trace.difference == pytest.approx(statistics.mean(trace.samples))
    difference = probed_matrix(case)
    squares = float((difference**2).sum())
    if distribution == "rademacher":
        squares -= float((difference.diagonal() ** 2).sum())
    error = math.sqrt(2 * squares / count)
    assert abs(trace.value - float(hessian.trace())) < 4 * error
    assert trace.standard_error == pytest.approx(error, rel=0.15)
    assert trace.probes is not None and trace.probes.variance == pytest.approx(2 * squares, rel=0.1)


def test_errors_and_intervals_are_correct_over_many_seeds() -> None:
    (case,) = (case for case in SMOOTH if case.name == "GELU")
    op = HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=20)
    exact = float(dense_hessian_of(case).trace())
    traces = [hessian_trace(op, generator=seeded(seed)) for seed in range(100)]
    errors = [trace.value - exact for trace in traces]
    spread = statistics.stdev(errors)
    assert abs(statistics.mean(errors)) < 4 * spread / math.sqrt(100)
    assert math.sqrt(statistics.mean(trace.standard_error**2 for trace in traces)) == pytest.approx(spread, rel=0.2)
    for method, least in (("student", 0.9), ("chebyshev", 0.97)):
        ends = [trace.interval(method=method) for trace in traces]  # type: ignore[arg-type]
        assert sum(low <= exact <= high for low, high in ends) >= least * 100


def test_at_a_perfect_fit_the_difference_is_zero() -> None:
    model, inputs = CASES[6].model(), vectors()[0]
    op = HessianOperator(model, F.mse_loss, (inputs, model(inputs).detach()))
    trace = hessian_trace(op, generator=seeded(0))
    assert not trace.exact and trace.standard_error == 0.0
    assert trace.value == pytest.approx(
        float(dense_hessian(model, F.mse_loss, (inputs, model(inputs).detach())).trace())
    )
    assert hutchinson(op, generator=seeded(0)).standard_error > 0.1


@pytest.mark.parametrize("case", [SMOOTH[-1], PIECEWISE[0]], ids=lambda case: case.name)
def test_the_error_of_a_sampled_trace_includes_both_errors(case: Case) -> None:
    op = HessianOperator(case.model(), case.loss_fn, case.batches(), chunk_size=40)
    exact, generator = float(dense_hessian_of(case).trace()), seeded(0)
    traces = [hessian_trace(op, sampled=True, generator=generator) for _ in range(100)]
    errors = [trace.value - exact for trace in traces]
    spread = statistics.stdev(errors)
    assert abs(statistics.mean(errors)) < 4 * spread / math.sqrt(100)
    assert math.sqrt(statistics.mean(trace.standard_error**2 for trace in traces)) == pytest.approx(spread, rel=0.2)
    assert sum(t.interval(method="chebyshev")[0] <= exact <= t.interval(method="chebyshev")[1] for t in traces) >= 97
    assert not any(trace.exact for trace in traces)
    probes = 0.0 if case is PIECEWISE[0] else 10.0
    assert {trace.products for trace in traces} == {probes} and op.products == 100 * probes


def test_the_sampled_part_equals_sampled_trace() -> None:
    case = PIECEWISE[0]
    expected = sampled_trace(case.model(), case.loss_fn, case.batches(), generator=seeded(3), chunk_size=2)
    trace = hessian_trace(
        HessianOperator(case.model(), case.loss_fn, case.batches(), 4), sampled=True, generator=seeded(3)
    )
    assert (trace.value, trace.standard_error) == (expected.value, expected.standard_error)
    half = (trace.interval()[1] - trace.interval()[0]) / 2
    assert half == pytest.approx(statistics.NormalDist().inv_cdf(0.975) * expected.standard_error, rel=1e-3)


@pytest.mark.parametrize("batches", [lambda: vectors(11), lambda: [vectors(11)[0:2], vectors(3)]])
def test_trace_of_a_subset_uses_its_first_samples(batches: Callable[[], Pair | list[Pair]]) -> None:
    model = CASES[6].model()
    whole = HessianOperator(model, F.mse_loss, batches(), chunk_size=4)
    subset = whole.subset(0.5)
    count = 6 if isinstance(batches(), tuple) else 7
    first = tuple(part[:count] for part in vectors(11))
    trace = hessian_trace(subset, 1000, generator=seeded(0))
    hessian = dense_hessian(model, F.mse_loss, first)  # type: ignore[arg-type]
    assert len(trace.gauss_newton_trace.per_sample) == count
    assert abs(trace.value - float(hessian.trace())) < 4 * trace.standard_error
    assert trace.standard_error < 0.2 * float(hessian.norm())
    assert (trace.products, subset.products) == (1000, 1000)
    assert whole.products == pytest.approx(1000 * count / (11 if isinstance(batches(), tuple) else 14))


def test_kept_graphs_and_their_budget_are_shared() -> None:
    case = SMOOTH[0]
    expected = hessian_trace(operator(case), generator=seeded(0))
    op = HessianOperator(case.model(), case.loss_fn, case.batches(), case.chunk_size, memory_budget=2**30)
    with op.keeping_graphs():
        op @ torch.ones(op.size, dtype=op.dtype)
        held = op._graphs.memory.held
        assert hessian_trace(op, generator=seeded(0)).value == expected.value
        assert op._graphs.memory.held == held > 0
    assert op._graphs.memory.held == 0


def test_probes_are_drawn_from_the_given_or_global_generator() -> None:
    op = operator(SMOOTH[0])
    for options in ({}, {"sampled": True}):
        first, again, other = (hessian_trace(op, generator=seeded(seed), **options).value for seed in (1, 1, 2))  # type: ignore[arg-type]
        assert first == again != other
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            unseeded = [hessian_trace(op, **options).value for _ in range(2)]  # type: ignore[arg-type]
            torch.manual_seed(5)
            assert unseeded[0] == hessian_trace(op, **options).value != unseeded[1]  # type: ignore[arg-type]


def test_a_single_probe_has_no_error_and_a_warning() -> None:
    trace = hessian_trace(operator(SMOOTH[0]), probes=1, generator=seeded(0))
    assert math.isnan(trace.standard_error) and trace.interval() == (-math.inf, math.inf)
    assert trace.probes is not None and trace.probes.too_few_probes
    assert len(repr(trace)) < 400


class Constant(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.tanh(input)


@pytest.mark.parametrize("loss_fn", [F.mse_loss, lambda z, y: 0.0 * z.sum(), lambda z, y: y.square().mean()])
def test_losses_independent_of_the_parameters_have_trace_zero(loss_fn) -> None:  # type: ignore[no-untyped-def]
    inputs, targets = vectors(outputs=3)
    trace = hessian_trace(HessianOperator(Constant(3, 3).double(), loss_fn, (inputs, targets)))
    assert trace.value == trace.standard_error == 0.0


def test_nan_weights_give_nan() -> None:
    model = CASES[6].model()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan  # type: ignore[index, operator]
    trace = hessian_trace(HessianOperator(model, F.mse_loss, vectors()), generator=seeded(0))
    assert all(math.isnan(x) for x in (trace.value, trace.standard_error, *trace.interval()))


def test_the_model_is_left_bitwise_unchanged() -> None:
    model = CountsAndFails()
    model.body.weight.grad = torch.ones(2, 3)
    inputs, targets = (part.float() for part in vectors())
    before, state = snapshot(model), torch.get_rng_state()
    hessian_trace(HessianOperator(model, F.mse_loss, (inputs, targets)), generator=seeded(0))
    assert_same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), state)


def gauss_newton() -> HessianOperator:
    return GaussNewtonOperator(CASES[6].model(), F.mse_loss, vectors())


@pytest.mark.parametrize(
    ("op", "options", "message"),
    [
        (gauss_newton, {}, "op is a GaussNewtonOperator, expected a HessianOperator.*exact_trace for tr"),
        (lambda: MatrixOperator(torch.eye(3)), {}, "op is a MatrixOperator, expected .* hutchinson for any other"),
        (lambda: operator(PIECEWISE[0]), {"probes": 0}, "probes is 0, expected at least 1, and 2 for a standard error"),
        (lambda: operator(PIECEWISE[0]), {"distribution": "uniform"}, "distribution is 'uniform', expected"),
    ],
)
def test_bad_arguments_are_rejected(op, options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        hessian_trace(op(), **options)


def test_train_mode_after_construction_is_rejected() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).double().eval()
    op = HessianOperator(model, F.mse_loss, vectors())
    model.train()
    with pytest.raises(ValueError, match="train mode"):
        hessian_trace(op)


def test_the_result_is_frozen() -> None:
    trace = hessian_trace(operator(PIECEWISE[0]))
    assert isinstance(trace, HessianTrace)
    with pytest.raises(AttributeError):
        trace.value = 0.0  # type: ignore[misc]
