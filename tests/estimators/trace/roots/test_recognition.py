"""Losses with a closed form are recognised in every layout, and losses that resemble them are not."""

import pytest
import torch
from torch import Tensor, nn

from estimators.trace.loss_root import loss_root
from estimators.trace.roots.diagonal import DiagonalRoot
from estimators.trace.roots.eigen import EigenRoot
from estimators.trace.roots.recognition import softmax_form
from estimators.trace.roots.root import Float64Root
from estimators.trace.roots.softmax import SoftmaxRoot
from tests.estimators.cases import seeded
from tests.estimators.trace.roots.losses import (
    CROSS_ENTROPIES,
    LOOK_ALIKES,
    OF_SINGLE_OUTPUTS,
    POSITIONS,
    SAMPLES,
    VOCABULARY,
    Loss,
    output_hessians,
    scores,
    squares,
    tokens,
)

F = nn.functional


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
def test_a_wrapped_cross_entropy_has_the_root_of_the_bare_one(name: str, scale: float) -> None:
    wrapped, bare, factor = CROSS_ENTROPIES[name]
    outputs, targets = scale * scores(), tokens()
    found, expected = loss_root(wrapped, outputs, targets), loss_root(bare, outputs.transpose(1, 2), targets)
    assert isinstance(found, SoftmaxRoot) and found.count == expected.count
    signs = torch.randint(0, 2, (SAMPLES, found.signs), generator=seeded(0)).double() * 2.0 - 1.0
    pairs = [(found.combinations(signs)[0], expected.combinations(signs)[0])]
    pairs += [(found.column(index), expected.column(index)) for index in range(found.count)]
    for (column, sign), (other, _) in pairs:
        assert sign == 1.0
        torch.testing.assert_close(column, factor**0.5 * other.transpose(1, 2), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_other_losses_are_not_mistaken_for_cross_entropy(name: str) -> None:
    loss_fn, outputs, targets = LOOK_ALIKES[name], scores(), tokens()
    assert softmax_form(loss_fn, outputs, targets) is None
    root = loss_root(loss_fn, outputs, targets)
    assert isinstance(root, EigenRoot)
    torch.testing.assert_close(
        squares(root, SAMPLES), output_hessians(loss_fn, outputs, targets), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", OF_SINGLE_OUTPUTS)
def test_losses_of_single_outputs_are_diagonal(name: str) -> None:
    loss_fn, outputs = OF_SINGLE_OUTPUTS[name], 2.0 * scores()
    targets = torch.rand(outputs.shape, dtype=torch.float64, generator=seeded(4))
    root = loss_root(loss_fn, outputs, targets)
    assert isinstance(root, DiagonalRoot)
    torch.testing.assert_close(
        squares(root, SAMPLES), output_hessians(loss_fn, outputs, targets), rtol=1e-12, atol=1e-14
    )


def test_squared_errors_of_one_hot_targets_are_recognised() -> None:
    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - F.one_hot(targets, VOCABULARY)).square().sum() / len(targets)

    root = loss_root(loss_fn, scores(), tokens())
    assert isinstance(root, DiagonalRoot) and root.count == POSITIONS * VOCABULARY
    torch.testing.assert_close(
        squares(root, SAMPLES), torch.eye(root.count, dtype=torch.float64).expand(SAMPLES, -1, -1)
    )


def test_a_huber_loss_has_a_column_for_each_output_in_its_quadratic_part() -> None:
    outputs = torch.tensor([[0.1, 5.0, 0.2, -7.0], [5.0, 0.1, 5.0, 5.0]])
    assert loss_root(F.smooth_l1_loss, outputs, torch.zeros(2, 4)).count == 2


def test_two_classes_need_more_than_one_point() -> None:
    """At one point any function of the difference of two scores has the Hessian of a scaled cross-entropy."""

    def sharper(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(3.0 * outputs, targets)

    def focal(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return ((1.0 - (-losses).exp()) ** 2 * losses).mean()

    targets = torch.tensor([0, 1, 1])
    for scale in (1.0, 100.0):
        outputs = scale * torch.randn(3, 2, dtype=torch.float64, generator=seeded(1))
        assert all(softmax_form(loss, outputs, targets) is None for loss in (sharper, focal))
        assert softmax_form(lambda z, y: 2.0 * F.cross_entropy(z, y), outputs, targets) is not None


def test_the_outputs_of_every_sample_are_checked() -> None:
    def clamped(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.clamp(-9.0, 9.0), targets)

    outputs = torch.randn(400, 3, dtype=torch.float64, generator=seeded(1))
    targets = torch.randint(0, 3, (400,), generator=seeded(2))
    assert softmax_form(clamped, outputs, targets) is not None
    outputs[-1, 0] = 10.0
    assert softmax_form(clamped, outputs, targets) is None


def test_a_chunk_of_many_outputs_is_checked_in_parts() -> None:
    outputs = torch.randn(40, 100, 30, dtype=torch.float64, generator=seeded(1))
    targets = torch.randint(0, 30, (40, 100), generator=seeded(2))
    wrapped, bare, _ = CROSS_ENTROPIES["flattened"]
    signs = torch.ones(40, 3000, dtype=torch.float64)
    found = loss_root(wrapped, outputs, targets).combinations(signs)[0][0]
    expected = loss_root(bare, outputs.transpose(1, 2), targets).combinations(signs)[0][0]
    torch.testing.assert_close(found, expected.transpose(1, 2), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("excluded", [slice(1, 2), slice(3, 4), slice(1, 3), slice(1, 4)])
def test_classes_may_be_excluded_by_infinite_scores(excluded: slice) -> None:
    outputs, targets = scores(), torch.zeros_like(tokens())
    outputs[1, 0, excluded] = -torch.inf
    root = loss_root(CROSS_ENTROPIES["flattened"][0], outputs, targets)
    p = outputs.softmax(2)
    expected = (torch.diag_embed(p) - p.unsqueeze(3) * p.unsqueeze(2)) / POSITIONS
    found = squares(root, SAMPLES)
    for position in range(POSITIONS):
        block = slice(position * VOCABULARY, (position + 1) * VOCABULARY)
        torch.testing.assert_close(found[:, block, block], expected[:, position], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss_fn", [CROSS_ENTROPIES["flattened"][0], lambda z, y: z.pow(4).mean()])
def test_a_sample_with_nan_outputs_has_a_nan_root(loss_fn: Loss) -> None:
    outputs = scores()
    outputs[1, 0, 0] = torch.nan
    root = loss_root(loss_fn, outputs, tokens())
    assert not isinstance(root, EigenRoot)
    vector, _ = root.combinations(torch.ones(SAMPLES, root.signs, dtype=torch.float64))[0]
    assert vector.flatten(1).isnan().any(dim=1).tolist() == [False, True, False]


def test_saturated_float32_scores_are_treated_in_float64() -> None:
    targets = tokens()
    outputs = (scores() + 20.0 * F.one_hot(targets, VOCABULARY)).float()
    wrapped, bare, _ = CROSS_ENTROPIES["flattened"]
    found, expected = loss_root(wrapped, outputs, targets), loss_root(bare, outputs.transpose(1, 2), targets)
    assert isinstance(found, Float64Root) and isinstance(expected, Float64Root)
    signs = torch.ones(SAMPLES, found.signs)
    one, other = (root.combinations(signs)[0][0] for root in (found, expected))
    assert one.dtype == torch.float32
    torch.testing.assert_close(one, other.transpose(1, 2), rtol=1e-6, atol=0.0)


def test_a_loss_that_does_not_accept_float64_is_not_recognised() -> None:
    identity = torch.eye(VOCABULARY)

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy((outputs @ identity).transpose(1, 2), targets)

    outputs = scores().float()
    root = loss_root(loss_fn, outputs, tokens())
    assert isinstance(root, EigenRoot)
    expected = output_hessians(CROSS_ENTROPIES["flattened"][0], outputs.double(), tokens())
    torch.testing.assert_close(squares(root, SAMPLES).double(), expected, rtol=1e-5, atol=1e-6)


def test_global_random_streams_do_not_advance() -> None:
    state = torch.get_rng_state()
    loss_root(CROSS_ENTROPIES["flattened"][0], scores(), tokens())
    assert torch.equal(torch.get_rng_state(), state)
