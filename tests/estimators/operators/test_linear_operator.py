"""Products of vectors and blocks. A block product is bit-identical to the products of its columns."""

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator
from tests.estimators.cases import CASES, Case, columns, counting_operator, mse_operator, random_vector


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_block_product_is_bit_identical_to_single_products(case: Case, dtype: torch.dtype) -> None:
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
def test_a_block_of_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    op = mse_operator()
    with pytest.raises(ValueError, match=r"expected \(54, \d\), torch.float64, cpu: .*torch.zeros\(op.size, k, "):
        op.matmat(torch.ones(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    "vector",
    [
        torch.ones(3, dtype=torch.float64),
        torch.ones(1, 1, 54, dtype=torch.float64),
        torch.ones(54),
        torch.ones(54, dtype=torch.float64, device="meta"),
    ],
    ids=["size", "dimensions", "dtype", "device"],
)
def test_a_vector_of_the_wrong_kind_is_refused(vector: Tensor) -> None:
    op = mse_operator()
    assert op.size == 54
    with pytest.raises(
        ValueError, match=r"the vector has shape, dtype and device .*, expected \(54,\), torch.float64, cpu"
    ):
        op @ vector


def test_strided_vectors_and_no_grad_and_inference_mode() -> None:
    op = mse_operator()
    vector = random_vector(op)
    expected = op @ vector
    strided = torch.stack([vector, vector], dim=1)[:, 0]
    assert torch.equal(op @ strided, expected)
    with torch.no_grad():
        assert torch.equal(op @ vector, expected)
    with torch.inference_mode():
        assert torch.equal(op @ vector.clone(), expected)
    result = op @ vector.clone().requires_grad_()
    assert torch.equal(result, expected) and not result.requires_grad
