"""Tests traces without probes against dense matrices, and the error of sampled traces."""

import gc
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators import dense_hessian, exact_trace, sampled_trace
from tests.estimators.cases import CASES, Case, convolutional, images, seeded, smooth, vectors
from tests.estimators.networks import NETWORKS, Network, dense_gauss_newton, labels, not_convex, values
from tests.estimators.observed_state import CountsAndFails, assert_same, snapshot

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from backpack import backpack, extend
    from backpack.extensions import DiagGGNExact

F = nn.functional
SAMPLES = 6

LOSSES: list[tuple[str, Callable[[Tensor, Tensor], Tensor], Callable[[int], Tensor]]] = [
    ("cross-entropy", F.cross_entropy, labels),
    ("smoothed", nn.CrossEntropyLoss(label_smoothing=0.3), labels),
    ("class probabilities", F.cross_entropy, lambda count: values(count).abs()),
    ("squared error", F.mse_loss, values),
    ("a function of cross-entropy", lambda z, y: 2.0 * F.cross_entropy(z, y), labels),
    ("Huber", F.smooth_l1_loss, values),
    ("not convex", not_convex, values),
    ("linear", lambda z, y: (z * y).mean(), values),
]

all_networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


def data(network: Network, targets: Tensor) -> tuple[Tensor, Tensor]:
    return network.inputs(len(targets)), targets


def by_parameter(model: nn.Module, matrix: Tensor) -> dict[str, float]:
    names = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    parts = matrix.diagonal().split([size for _, size in names])
    return {name: float(part.sum()) for (name, _), part in zip(names, parts, strict=True)}


@all_networks
@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[6]], ids=lambda loss: loss[0])
def test_exact_trace_equals_the_dense_trace(network: Network, loss) -> None:  # type: ignore[no-untyped-def]
    _, loss_fn, targets = loss
    model, pair = network.model(), data(network, targets(SAMPLES))
    dense = dense_gauss_newton(model, loss_fn, pair)
    trace = exact_trace(model, loss_fn, pair, chunk_size=4)
    per_sample = dense.diagonal(dim1=1, dim2=2).sum(dim=1)
    torch.testing.assert_close(trace.per_sample, per_sample, rtol=1e-10, atol=1e-12)
    assert trace.value == pytest.approx(float(per_sample.mean()), rel=1e-10)
    assert dict(trace.per_parameter) == pytest.approx(by_parameter(model, dense.mean(dim=0)), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss[0])
def test_exact_trace_is_correct_for_every_loss(loss) -> None:  # type: ignore[no-untyped-def]
    _, loss_fn, targets = loss
    network = NETWORKS[0]
    model, pair = network.model(), data(network, targets(SAMPLES))
    dense = dense_gauss_newton(model, loss_fn, pair).mean(dim=0)
    assert exact_trace(model, loss_fn, pair, chunk_size=4).value == pytest.approx(float(dense.trace()), rel=1e-10)


@all_networks
def test_if_exact_it_equals_the_trace_of_the_hessian(network: Network) -> None:
    model, pair = network.model(), data(network, labels(SAMPLES))
    trace = exact_trace(model, F.cross_entropy, pair)
    assert trace.reason
    if trace.exact:
        hessian = dense_hessian(model, F.cross_entropy, pair)
        assert trace.value == pytest.approx(float(hessian.trace()), rel=1e-10)
        assert dict(trace.per_parameter) == pytest.approx(by_parameter(model, hessian), rel=1e-10, abs=1e-12)


def test_piecewise_linear_networks_are_exact_and_smooth_ones_are_not() -> None:
    assert exact_trace(NETWORKS[0].model(), F.cross_entropy, data(NETWORKS[0], labels(SAMPLES))).exact
    trace = exact_trace(smooth().double(), F.mse_loss, vectors())
    assert not trace.exact and "tanh" in trace.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exact_trace_over_batches_equals_the_dense_trace(case: Case) -> None:
    model, batches = case.model(), case.batches()
    pair = batches if isinstance(batches, tuple) else tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
    dense = dense_gauss_newton(model, case.loss_fn, pair).mean(dim=0)
    found = exact_trace(model, case.loss_fn, batches, chunk_size=case.chunk_size).value
    assert found == pytest.approx(float(dense.trace()), rel=1e-10, abs=1e-12)


@all_networks
def test_exact_trace_does_not_depend_on_the_chunk_size(network: Network) -> None:
    model = network.model(torch.float32)
    pair = network.inputs(9, torch.float32), labels(9)
    # With 2 and 4, the last chunk is a single sample. Sizes that add only more or larger chunks need one network.
    sizes = (None, 1, 2, 4, 100) if network is NETWORKS[0] else (None, 2, 4)
    for trace_of in (exact_trace, lambda *args, **kwargs: sampled_trace(*args, **kwargs, generator=seeded(5))):
        traces = [trace_of(model, F.cross_entropy, pair, chunk_size=size) for size in sizes]
        for trace in traces[1:]:
            assert trace.value == pytest.approx(traces[0].value, rel=1e-6)
            torch.testing.assert_close(trace.per_sample, traces[0].per_sample, rtol=2e-5, atol=1e-7)


def test_exact_trace_equals_backpack() -> None:
    # BackPACK does not support average pooling in float64.
    network = Network("for BackPACK", convolutional)
    model, pair = network.model(), images(SAMPLES)
    trace = exact_trace(model, F.cross_entropy, pair, chunk_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer, loss_fn = extend(network.model()), extend(nn.CrossEntropyLoss())
        with backpack(DiagGGNExact()):
            loss_fn(peer(pair[0]), pair[1]).backward()
    expected = {name: float(parameter.diag_ggn_exact.sum()) for name, parameter in peer.named_parameters()}
    assert dict(trace.per_parameter) == pytest.approx(expected, rel=1e-10)


def test_outputs_with_positions() -> None:
    """Segmentation scores [n, classes, ...], and squared errors of images."""
    model = nn.Conv2d(2, 3, 2).double()
    inputs, _ = images(5)
    targets = torch.randint(0, 3, (5, 3, 3), generator=seeded(2))
    for loss_fn, wanted in ((F.cross_entropy, targets), (F.mse_loss, model(inputs).detach() + 1)):
        dense = dense_gauss_newton(model, loss_fn, (inputs, wanted)).mean(dim=0)
        trace = exact_trace(model, loss_fn, (inputs, wanted), chunk_size=2)
        assert trace.value == pytest.approx(float(dense.trace()), rel=1e-10)
        assert trace.backward_passes == (18 if loss_fn is F.cross_entropy else 27)


def test_a_saturated_softmax_has_a_finite_trace() -> None:
    model = NETWORKS[0].model(torch.float32)
    with torch.no_grad():
        model[-1].weight.mul_(1e4)
    trace = exact_trace(model, F.cross_entropy, (NETWORKS[0].inputs(5, torch.float32), labels(5)))
    assert 0.0 <= trace.value < math.inf


def test_sampling_error_and_cost_of_the_exact_trace() -> None:
    trace = exact_trace(convolutional().double(), F.cross_entropy, images(8))
    assert trace.sampling_error == pytest.approx(float(trace.per_sample.std()) / math.sqrt(8))
    assert trace.backward_passes == 2.0
    assert trace.value == pytest.approx(math.fsum(trace.per_parameter.values()))
    assert math.isnan(exact_trace(convolutional().double(), F.cross_entropy, images(1)).sampling_error)


def smooth_features() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize(
    ("loss", "vectors_per_sample"),
    [(LOSSES[0], 1), (LOSSES[0], 3), (LOSSES[3], 1), (LOSSES[4], 2), (LOSSES[6], 1)],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_sampled_trace_is_unbiased_with_correct_error(loss, vectors_per_sample: int) -> None:  # type: ignore[no-untyped-def]
    _, loss_fn, targets = loss
    # More than 128 samples, so that with one vector per sample only a share of the samples gets a second vector.
    model, pair = smooth_features(), (vectors(200)[0], targets(200))
    exact = exact_trace(model, loss_fn, pair)
    generator = seeded(0)
    draws = [sampled_trace(model, loss_fn, pair, vectors_per_sample, generator, chunk_size=100) for _ in range(60)]
    found = torch.tensor([draw.value for draw in draws], dtype=torch.float64)
    error = float(found.std())
    assert abs(float(found.mean()) - exact.value) < 4 * error / 60**0.5 + 1e-12
    stated = torch.tensor([draw.standard_error for draw in draws]).square().mean().sqrt()
    assert float(stated) == pytest.approx(error, rel=0.3)
    # The signs add to the sampling error.
    assert sum(draw.sampling_error for draw in draws) / 60 > exact.sampling_error
    shares = {name: sum(draw.per_parameter[name] for draw in draws) / 60 for name in exact.per_parameter}
    for name, share in exact.per_parameter.items():
        spread = torch.tensor([draw.per_parameter[name] for draw in draws]).std()
        assert abs(shares[name] - share) < 5 * float(spread) / 60**0.5 + 1e-12


def test_passes_and_vectors_of_the_sampled_trace() -> None:
    network = NETWORKS[0]
    model, pair = network.model(), data(network, labels(256))
    trace = sampled_trace(model, F.cross_entropy, pair, generator=seeded(0))
    assert (trace.vectors, trace.backward_passes) == (1, 1.25)
    assert sampled_trace(model, F.cross_entropy, pair, vectors=3).backward_passes == 3.0
    few = sampled_trace(model, F.cross_entropy, (pair[0][:7], pair[1][:7]), generator=seeded(0))
    assert few.backward_passes == 2.0 and few.standard_error > 0


def test_signs_are_drawn_from_the_given_or_global_generator() -> None:
    network = NETWORKS[0]
    model, pair = network.model(), data(network, labels(20))
    first, again = (sampled_trace(model, F.cross_entropy, pair, generator=seeded(3)).value for _ in range(2))
    assert first == again != sampled_trace(model, F.cross_entropy, pair, generator=seeded(4)).value
    state = torch.get_rng_state()
    torch.manual_seed(3)
    seeded_by_the_stream = sampled_trace(model, F.cross_entropy, pair).value
    assert sampled_trace(model, F.cross_entropy, pair).value != seeded_by_the_stream
    torch.manual_seed(3)
    assert sampled_trace(model, F.cross_entropy, pair).value == seeded_by_the_stream
    torch.set_rng_state(state)


@pytest.mark.parametrize("trace_of", [exact_trace, sampled_trace])
def test_the_model_is_left_bitwise_unchanged(trace_of) -> None:  # type: ignore[no-untyped-def]
    model = CountsAndFails()
    model.body.weight.grad = torch.ones(2, 3)
    inputs, targets = (part.float() for part in vectors())
    state = torch.get_rng_state()
    before = snapshot(model)
    trace_of(model, F.mse_loss, (inputs, targets), **({} if trace_of is exact_trace else {"generator": seeded(0)}))
    assert_same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), state) and not model.body._forward_hooks


def test_nan_weights_give_nan() -> None:
    model = smooth().double()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    for loss_fn in (F.mse_loss, lambda z, y: F.mse_loss(z, y)):
        assert math.isnan(exact_trace(model, loss_fn, vectors()).value)
        sampled = sampled_trace(model, loss_fn, vectors())
        assert math.isnan(sampled.value) and math.isnan(sampled.standard_error)


class Centred(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input - input.mean(dim=0))


REJECTED = [
    (lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), F.mse_loss, "train mode"),
    (lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), F.mse_loss, "loss depends on the chunk size"),
    (lambda: nn.Linear(3, 2).half(), F.mse_loss, "torch.float16, expected torch.float32"),
    (
        lambda: Centred(3, 2),
        F.mse_loss,
        "the outputs of 4 samples change by .* with the split of their batch.*do not influence each other",
    ),
    (lambda: nn.Linear(3, 2), nn.MSELoss(reduction="sum"), "must be a mean over samples"),
    (lambda: nn.Linear(3, 2), lambda z, y: F.mse_loss(z + torch.rand_like(z), y), "two evaluations"),
    (lambda: nn.Linear(3, 2), lambda z, y: 1.0, "type float"),
    (lambda: nn.Linear(3, 2).requires_grad_(False), F.mse_loss, "no parameter of the model requires grad"),
]


@pytest.mark.parametrize("trace_of", [exact_trace, sampled_trace])
@pytest.mark.parametrize(("build", "loss_fn", "message"), REJECTED)
def test_invalid_models_and_losses_are_rejected(trace_of, build, loss_fn, message) -> None:  # type: ignore[no-untyped-def]
    inputs, targets = vectors()
    with pytest.raises(ValueError, match=message):
        trace_of(build().double() if "float16" not in message else build(), loss_fn, (inputs, targets))


@pytest.mark.parametrize("trace_of", [exact_trace, sampled_trace])
def test_invalid_losses_sizes_and_targets_are_rejected(trace_of) -> None:  # type: ignore[no-untyped-def]
    model, (inputs, targets) = convolutional().double(), images(8)
    weights = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    for loss_fn in (nn.CrossEntropyLoss(weight=weights), nn.CrossEntropyLoss(ignore_index=int(targets[-1]))):
        with pytest.raises(ValueError, match="must be a mean over samples"):
            trace_of(model, loss_fn, (inputs, targets), chunk_size=3)
    with pytest.raises(ValueError, match="chunk_size is 0, expected at least 1"):
        trace_of(model, F.cross_entropy, (inputs, targets), chunk_size=0)
    with pytest.raises(ValueError, match="no samples"):
        trace_of(model, F.cross_entropy, (inputs[:0], targets[:0]))
    with pytest.raises(ValueError, match=r"a target is 7, expected a class in 0\.\.2"):
        trace_of(model, F.cross_entropy, (inputs, torch.full_like(targets, 7)))


@pytest.mark.parametrize("count", [0, -1])
def test_too_few_vectors_are_rejected(count: int) -> None:
    with pytest.raises(ValueError, match=f"vectors is {count}, expected at least 1"):
        sampled_trace(smooth().double(), F.mse_loss, vectors(), vectors=count)


@all_networks
@pytest.mark.parametrize("trace", [exact_trace, sampled_trace])
def test_chunks_are_freed_without_the_garbage_collector(network: Network, trace: Callable[..., object]) -> None:
    """The garbage collector would free them at least five chunks later."""
    model, pair = network.model(), data(network, labels(SAMPLES))
    trace(model, F.cross_entropy, pair, chunk_size=2)
    gc.disable()
    # Restricts the collection below to objects of this call.
    gc.freeze()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        trace(model, F.cross_entropy, pair, chunk_size=2)
        gc.collect()
        uncollected = [item for item in gc.garbage if isinstance(item, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    assert not uncollected
