"""Norms of products with shared matrices against dense products."""

from functools import partial

import pytest
import torch
from torch import Tensor

from estimators.kernels import blocks
from estimators.kernels.blocks import Scratch
from estimators.per_sample.products import (
    Factors,
    InputMatrices,
    ProductNorms,
    gram_is_cheaper,
    norms_at_positions,
    norms_of_sum,
)
from tests.estimators.cases import seeded


@pytest.mark.parametrize("shape", [(3, 70, 4), (40, 70, 4), (40, 5, 4), (100, 80, 60), (5, 5, 5)])
@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("groups", [1, 2])
def test_norms_equal_those_of_dense_products(
    shape: tuple[int, int, int], count: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Includes blocks of few samples, and columns that arrive in several parts."""
    positions, inputs, outputs = shape
    rows = torch.randn(5 * groups, positions, inputs, dtype=torch.float64, generator=seeded(0))
    deltas = torch.randn(5 * groups, count, outputs, positions, dtype=torch.float64, generator=seeded(1))
    expected = (deltas @ rows.unsqueeze(1)).square().sum(dim=(2, 3)).view(5, groups, count).sum(dim=1)

    def some(matrices: Tensor, part: slice) -> Tensor:
        return matrices[part.start * groups : part.stop * groups]

    for numbers in (2**20, 2 * positions * max(inputs, outputs) * count):
        monkeypatch.setattr(blocks, "_BYTES", {"cpu": 8 * numbers})
        products = ProductNorms(InputMatrices(partial(some, rows), inputs, groups), count)
        for first, last in [(0, count), (0, 1), (1, count)]:
            found = (
                products.norms(partial(some, deltas[:, first:last]), 5, Scratch()) if last > first else expected[:, :0]
            )
            torch.testing.assert_close(found, expected[:, first:last], rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_norms_of_sparse_matrices_equal_those_of_dense_products(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several entries may have the same position, as in overlapping windows."""
    monkeypatch.setattr(blocks, "_BYTES", {"cpu": 8 * 4 * 6 * 7 * 2})
    rows = torch.randn(5 * groups, 20, 7, dtype=torch.float64, generator=seeded(0))
    entries = torch.randn(5, 4, 3, 6, dtype=torch.float64, generator=seeded(1))
    positions = torch.randint(0, 20, (5, 4, 6), generator=seeded(2)).int()
    whole = torch.zeros(5, 4, 3, 20, dtype=torch.float64)
    whole.scatter_add_(3, positions.long().unsqueeze(2).expand(entries.shape), entries)
    by_group = whole.view(5, groups, 4 // groups, 3, 20) @ rows.view(5, groups, 1, 20, 7)
    matrices = InputMatrices(lambda part: rows[part.start * groups : part.stop * groups], 7, groups)
    found = norms_at_positions(matrices, entries.__getitem__, positions, Scratch())
    torch.testing.assert_close(found, by_group.square().sum(dim=(1, 2, 4)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("uses", ["rows, matrix", "matrix, rows", "rows, rows", "matrix, matrix", "rows, matrix, rows"])
def test_norms_of_sums_equal_those_of_dense_sums(uses: str) -> None:
    """As for tied embeddings: ``rows`` are looked up by index, which may repeat."""
    samples, outputs, inputs = 4, 300, 40
    parts, total = [], torch.zeros(samples, outputs, inputs, dtype=torch.float64)
    for position, use in enumerate(uses.split(", ")):
        positions = position + 2
        right = torch.randn(samples, positions, inputs, dtype=torch.float64, generator=seeded(position))
        rows = torch.randint(0, 3, (samples, positions), generator=seeded(position))
        one_hot = torch.nn.functional.one_hot(rows, outputs).mT.double()
        dense = torch.randn(samples, outputs, positions, dtype=torch.float64, generator=seeded(position + 9))
        parts.append(Factors(rows if use == "rows" else dense, right))
        total += (one_hot if use == "rows" else dense) @ right
    found = norms_of_sum(parts, outputs)
    assert found is not None
    torch.testing.assert_close(found, total.square().sum(dim=(1, 2)), rtol=1e-12, atol=1e-12)


def test_sums_of_short_gradients_are_formed() -> None:
    parts = [Factors(torch.ones(2, 5, 4), torch.ones(2, 4, 3)) for _ in range(2)]
    assert norms_of_sum(parts, outputs=5) is None


def test_shapes_select_the_cheaper_algorithm() -> None:
    assert not gram_is_cheaper(positions=1024, inputs=27, outputs=32, columns=9)
    assert not gram_is_cheaper(positions=256, inputs=288, outputs=32, columns=9)
    assert gram_is_cheaper(positions=4, inputs=4608, outputs=512, columns=1)
    assert gram_is_cheaper(positions=4, inputs=4608, outputs=512, columns=9)
