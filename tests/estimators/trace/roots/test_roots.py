"""Every kind of root gives the Hessian of the loss in the outputs, as a sum over columns and as a mean over signs."""

import pytest
import torch
from torch import Tensor, nn

from estimators.trace.loss_root import loss_root
from estimators.trace.roots.bilinear import BilinearRoot
from estimators.trace.roots.diagonal import DiagonalRoot
from estimators.trace.roots.eigen import EigenRoot
from estimators.trace.roots.output_hessian import OutputHessian
from estimators.trace.roots.recognition import block_form
from estimators.trace.roots.root import LossRoot
from estimators.trace.roots.softmax import SoftmaxRoot
from tests.estimators.cases import seeded
from tests.estimators.trace.roots.losses import (
    LOOK_ALIKES,
    POSITIONS,
    SAMPLES,
    VOCABULARY,
    Loss,
    flattened,
    mean_square,
    output_hessians,
    padded,
    scores,
    squares,
    tokens,
)

F = nn.functional


def along_positions(outputs: Tensor, targets: Tensor) -> Tensor:
    """A softmax over the positions, at each entry of the vocabulary: the classes are in dimension 1."""
    return 0.7 * F.cross_entropy(outputs, F.one_hot(targets, VOCABULARY).sum(1).clamp(max=1))


CASES: dict[str, tuple[Loss, type[LossRoot], int]] = {
    "classes last": (padded, SoftmaxRoot, 10_000),
    "classes first": (along_positions, SoftmaxRoot, 10_000),
    "single outputs": (lambda z, _: (z.sin() + z**3).mean(), DiagonalRoot, 10_000),
    "blocks": (LOOK_ALIKES["z-loss"], EigenRoot, 10_000),
    "blocks, not convex": (LOOK_ALIKES["focal"], EigenRoot, 10_000),
    "all outputs": (LOOK_ALIKES["perplexity"], EigenRoot, 10_000),
    "pairs": (LOOK_ALIKES["perplexity"], BilinearRoot, 0),
    "pairs, not convex": (LOOK_ALIKES["focal"], BilinearRoot, 0),
    "pairs, zero for a sample": (lambda z, y: (z.prod(2).sin().sum(1) * y[:, 0]).mean(), BilinearRoot, 0),
}
cases = pytest.mark.parametrize("name", CASES)


@cases
def test_the_sum_over_columns_is_the_hessian(name: str) -> None:
    loss_fn, kind, max_entries = CASES[name]
    root = loss_root(loss_fn, scores(), tokens(), max_entries)
    assert type(root) is kind
    expected = output_hessians(loss_fn, scores(), tokens())
    torch.testing.assert_close(squares(root, SAMPLES), expected, rtol=1e-12, atol=1e-14)


@cases
def test_the_mean_over_all_signs_is_the_hessian(name: str) -> None:
    loss_fn, _, max_entries = CASES[name]
    root = loss_root(loss_fn, scores(), tokens(), max_entries)
    found = mean_square(root, SAMPLES)
    expected = output_hessians(loss_fn, scores(), tokens())
    torch.testing.assert_close((found + found.mT) / 2, expected, rtol=1e-12, atol=1e-14)


def test_blocks_of_positions_are_found_in_both_layouts() -> None:
    loss_fn = LOOK_ALIKES["z-loss"]
    dim, blocks = block_form(loss_fn, scores(), tokens(), 10_000) or (0, torch.zeros(()))
    assert dim == 2 and blocks.shape == (SAMPLES, POSITIONS, VOCABULARY, VOCABULARY)
    first, found = block_form(
        lambda z, y: loss_fn(z.transpose(1, 2), y), scores().mT.contiguous(), tokens(), 10_000
    ) or (
        0,
        torch.zeros(()),
    )
    assert first == 1
    torch.testing.assert_close(found, blocks, rtol=1e-12, atol=1e-14)
    assert block_form(loss_fn, scores(), tokens(), POSITIONS * VOCABULARY**2 - 1) is None
    assert block_form(LOOK_ALIKES["perplexity"], scores(), tokens(), 10_000) is None


def test_blocks_of_images() -> None:
    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) + 0.1 * outputs.logsumexp(1).square().mean()

    outputs = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=seeded(1))
    targets = torch.randint(0, 3, (2, 2, 2), generator=seeded(2))
    expected = output_hessians(loss_fn, outputs, targets)
    for layout in (outputs, outputs.contiguous(memory_format=torch.channels_last)):
        root = loss_root(loss_fn, layout, targets)
        assert isinstance(root, EigenRoot) and root.count == 12
        torch.testing.assert_close(squares(root, 2), expected, rtol=1e-12, atol=1e-14)


def test_products_of_a_loss_without_curvature_are_zero() -> None:
    for loss_fn in (lambda z, y: y.double().mean(), lambda z, y: z.mean()):
        hessian = OutputHessian(loss_fn, scores(), tokens())
        assert not hessian.product(torch.ones_like(scores())).any() and not hessian.blocks(None).any()


def test_the_order_of_signs_does_not_depend_on_the_layout() -> None:
    signs = torch.randint(0, 2, (SAMPLES, POSITIONS * VOCABULARY), generator=seeded(0)).double() * 2.0 - 1.0
    last = loss_root(flattened, scores(), tokens()).combinations(signs)[0][0]
    first = loss_root(F.cross_entropy, scores().transpose(1, 2), tokens()).combinations(signs)[0][0]
    torch.testing.assert_close(last, first.transpose(1, 2), rtol=1e-12, atol=0.0)
