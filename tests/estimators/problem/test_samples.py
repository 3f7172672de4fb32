"""Tests which data is refused, and the order of chunks."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace, sampled_trace
from estimators.problem.samples import Samples, samples_in_fraction
from tests.estimators.cases import Pair, assert_relatively_close, mse_operator, random_vector, seeded, smooth, vectors


class Shuffled:
    def __iter__(self) -> Iterator[Pair]:
        inputs, targets = vectors()
        order = torch.randperm(len(inputs))
        yield inputs[order], targets[order]


class Exhausted:
    """Yields a third of its samples from the sixth pass on."""

    passes = 0

    def __iter__(self) -> Iterator[Pair]:
        self.passes += 1
        inputs, targets = vectors(9)
        for part in range(3 if self.passes < 6 else 1):
            yield inputs[3 * part : 3 * part + 3], targets[3 * part : 3 * part + 3]


X, Y = vectors()
REFUSED_BATCHES = [
    ((pair for pair in [(X, Y)]), "a generator, which can be iterated only once.*list"),
    (iter([(X, Y)]), "a list_iterator, which can be iterated only once"),
    ([], "no samples"),
    ((X[:0], Y[:0]), "no samples"),
    ((X, Y[:4]), r"inputs of shape \(10, 3\) and targets of shape \(4, 2\).*one target per input"),
    ([(X, Y), (X, Y[:4])], "batch 1 holds inputs"),
    (X, "batches is a Tensor, expected an .inputs, targets. pair"),
    (3, "batches is a int, expected"),
    ([(X, Y, Y)], r"batch 0 is a tuple of \(Tensor, Tensor, Tensor\), expected a pair of tensors"),
    ([X, Y, Y], "batch 0 is a Tensor, expected a pair of tensors"),
    (Shuffled(), "a different first batch in a second pass.*turn off shuffling"),
]


@pytest.mark.parametrize(("batches", "message"), REFUSED_BATCHES)
def test_unusable_data_is_refused(batches, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        HessianOperator(smooth().double(), nn.functional.mse_loss, batches)


def test_data_with_fewer_samples_in_a_later_pass_is_refused() -> None:
    op = HessianOperator(smooth().double(), nn.functional.mse_loss, Exhausted())
    with pytest.raises(ValueError, match="yielded 3 samples, expected 9 as in its first pass"):
        op @ random_vector(op)


def test_a_data_loader_is_re_iterable() -> None:
    data = torch.utils.data.TensorDataset(*vectors())
    model = smooth().double()
    op = HessianOperator(model, nn.functional.mse_loss, torch.utils.data.DataLoader(data, batch_size=4))
    state = torch.get_rng_state()
    assert_relatively_close(op @ random_vector(op), mse_operator(model) @ random_vector(op), 1e-12)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="turn off shuffling"):
        HessianOperator(model, nn.functional.mse_loss, torch.utils.data.DataLoader(data, batch_size=4, shuffle=True))


@pytest.mark.parametrize(("fraction", "samples"), [(0.07, 7), (0.1, 10), (0.101, 11), (1.0, 100), (1e-9, 1)])
def test_a_fraction_is_rounded_up(fraction: float, samples: int) -> None:
    assert samples_in_fraction(fraction, 100) == samples


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"fraction is {fraction}, expected a number in \(0, 1\]"):
        samples_in_fraction(fraction, 100)


def test_chunks_do_not_span_batches_and_end_at_the_limit() -> None:
    inputs, targets = torch.arange(10.0), torch.arange(10)
    samples = Samples([(inputs[:5], targets[:5]), (inputs[5:], targets[5:])])
    chunks = list(samples.chunks(3, torch.device("cpu"), limit=7))
    assert [chunk.tolist() for chunk, _ in chunks] == [[0.0, 1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert torch.equal(torch.cat([chunk for _, chunk in chunks]), targets[:7])
    assert [len(chunk) for chunk, _ in samples.chunks(100, torch.device("cpu"))] == [5, 5]


class Reshuffled:
    """Yields a different order of samples in each pass."""

    def __init__(self) -> None:
        self.generator = seeded(0)

    def __iter__(self) -> Iterator[Pair]:
        inputs, targets = vectors()
        order = torch.randperm(len(inputs), generator=self.generator)
        yield inputs[order], targets[order]


class Augmented(Reshuffled):
    """Adds different noise in each pass."""

    def __iter__(self) -> Iterator[Pair]:
        inputs, targets = vectors()
        yield inputs + torch.randn(inputs.shape, dtype=inputs.dtype, generator=self.generator), targets


@pytest.mark.parametrize("batches", [Reshuffled, Augmented])
def test_every_estimator_refuses_data_that_change(batches: type[Reshuffled]) -> None:
    for call in (HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian):
        with pytest.raises(
            ValueError, match="a different first batch in a second pass.*turn off shuffling and random augm"
        ):
            call(smooth().double(), nn.functional.mse_loss, batches())
