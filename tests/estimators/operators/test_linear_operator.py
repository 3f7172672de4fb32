"""Products of several vectors at once are those of one vector alone, bit for bit."""

import importlib

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator, hutchinson, lanczos
from tests.estimators.cases import (
    CASES,
    Case,
    MatrixOperator,
    columns,
    counting_operator,
    mse_operator,
    operator,
    seeded,
    symmetric,
)

# The function of this name hides the module in the package.
MODULE = importlib.import_module("estimators.trace.hutchinson")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_columns_are_the_single_products_bit_for_bit(case: Case, dtype: torch.dtype) -> None:
    model = case.model().to(dtype)
    batches = case.batches()
    pairs = batches if isinstance(batches, list) else [batches]
    cast = [(x.to(dtype), y.to(dtype) if y.is_floating_point() else y) for x, y in pairs]
    op = HessianOperator(model, case.loss_fn, cast, chunk_size=case.chunk_size)
    block = columns(op, 3)
    product = op.matmat(block)
    assert product.shape == block.shape and op.products == 3.0
    assert torch.equal(op @ block, product)
    for column in range(3):
        assert torch.equal(product[:, column], op.matvec(block[:, column]))
    assert torch.equal(op.matmat(block[:, :1]), product[:, :1])
    assert torch.equal(op.matmat(block.T.contiguous().T), product)


def test_a_block_shares_its_graphs() -> None:
    model, op = counting_operator(memory_budget=0)
    op.matmat(columns(op, 7))
    assert model.forwards == 4
    subset = op.subset(0.5)
    subset.matmat(columns(op, 2))
    assert (subset.products, op.products) == (2.0, 8.0)


def test_blocks_in_no_grad_and_inference_mode() -> None:
    op = mse_operator()
    block = columns(op, 2)
    expected = op @ block
    with torch.no_grad():
        assert torch.equal(op @ block, expected)
    with torch.inference_mode():
        assert torch.equal(op @ block.clone(), expected)
    result = op @ block.clone().requires_grad_()
    assert torch.equal(result, expected) and not result.requires_grad


@pytest.mark.parametrize("shape", [(54, 0), (3, 4), (54, 2, 1)])
def test_a_block_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    op = mse_operator()
    with pytest.raises(ValueError, match=r"expected \(54, \d\), torch.float64, cpu: .*torch.zeros\(op.size, k, "):
        op.matmat(torch.ones(shape, dtype=torch.float64))


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
@pytest.mark.parametrize("deflated", [False, True])
def test_the_probes_do_not_depend_on_their_blocks(
    distribution: str, deflated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = operator(CASES[0])
    subspace = lanczos(op, 4, tolerance=0.0, generator=seeded(3)) if deflated else None
    results = []
    for vectors_in_block in (1, 3, 100):
        monkeypatch.setattr(MODULE, "_BLOCK_BYTES", vectors_in_block * op.size * 8)
        results.append(hutchinson(op, 7, distribution, subspace, seeded(0)))  # type: ignore[arg-type]
    assert results[0].samples == results[1].samples == results[2].samples
    assert results[0].frobenius == results[1].frobenius == results[2].frobenius
    assert [result.products for result in results] == [7.0] * 3


def test_hutchinson_takes_its_probes_at_once() -> None:
    model, op = counting_operator(memory_budget=0)
    hutchinson(op, 10, generator=seeded(0))
    assert model.forwards == 4


class WithMatmat(MatrixOperator):
    """A matrix that multiplies blocks, and says how wide they were."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix)
        self.widths: list[int] = []

    def matmat(self, vectors: Tensor) -> Tensor:
        self.widths.append(vectors.shape[1])
        return torch.stack([self.matvec(vector) for vector in vectors.T.contiguous()], dim=1)


def test_blocks_are_bounded_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    op = WithMatmat(symmetric([3.0, 1.0, -1.0]))
    monkeypatch.setattr(MODULE, "_BLOCK_BYTES", 4 * 3 * 8)
    result = hutchinson(op, 10, generator=seeded(0))
    assert op.widths == [4, 4, 2]
    assert result.samples == hutchinson(MatrixOperator(op.matrix), 10, generator=seeded(0)).samples
