"""HessianOperator against the dense Hessian, at any chunk size; its subsets, and what a product counts."""

import pytest
import torch
from torch import nn

from estimators import HessianOperator, dense_hessian
from tests.estimators.cases import (
    CASES,
    Case,
    Pair,
    as_list,
    assert_relatively_close,
    convolutional,
    images,
    mse_operator,
    operator,
    random_vector,
    seeded,
    smooth,
    vectors,
)

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@all_cases
def test_matvec_is_the_dense_product(case: Case) -> None:
    op = operator(case)
    vector = random_vector(op)
    expected = dense_hessian(case.model(), case.loss_fn, case.batches()) @ vector
    assert_relatively_close(op @ vector, expected, 1e-10)
    assert_relatively_close(op.matvec(vector), expected, 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@all_cases
def test_the_chunk_size_changes_nothing(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    model = case.model().to(dtype)
    batches = [(x.to(dtype), y.to(dtype) if y.is_floating_point() else y) for x, y in as_list(case.batches())]
    products = []
    for chunk_size in (None, 1, 3, 1000):
        op = HessianOperator(model, case.loss_fn, batches, chunk_size=chunk_size)
        products.append(op @ random_vector(op))
    for product in products[1:]:
        assert_relatively_close(product, products[0], tolerance)


def test_the_default_chunk_size_is_a_function_of_model_and_shape() -> None:
    def default(inputs: Pair) -> int:
        return HessianOperator(convolutional().double(), nn.functional.cross_entropy, inputs).chunk_size

    assert default(images(8)) == default(images(100)) > 1
    larger = torch.zeros(8, 2, 8, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.long)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    small_op = HessianOperator(model, nn.functional.cross_entropy, images(8))
    large_op = HessianOperator(model, nn.functional.cross_entropy, larger)
    assert large_op.chunk_size < small_op.chunk_size


def test_the_papers_network_gets_chunks_that_fit_a_cache() -> None:
    block = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    block += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Linear(2048, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)]
    data = torch.randn(2, 3, 32, 32, generator=seeded(0)), torch.tensor([0, 1])
    op = HessianOperator(nn.Sequential(*block, nn.Flatten(), *head), nn.functional.cross_entropy, data)
    assert op.size == 994_154
    assert 50 <= op.chunk_size <= 250


def test_a_subset_is_the_first_samples() -> None:
    inputs, targets = vectors(10)
    model = smooth().double()
    subset = HessianOperator(model, nn.functional.mse_loss, (inputs, targets), chunk_size=3).subset(0.31)
    first_four = dense_hessian(model, nn.functional.mse_loss, (inputs[:4], targets[:4]))
    vector = random_vector(subset)
    assert_relatively_close(subset @ vector, first_four @ vector, 1e-10)


def test_a_subset_of_several_batches_ends_within_one() -> None:
    inputs, targets = vectors(10)
    batches = [(inputs[:3], targets[:3]), (inputs[3:8], targets[3:8]), (inputs[8:], targets[8:])]
    model = smooth().double()
    subset = HessianOperator(model, nn.functional.mse_loss, batches).subset(0.5)
    first_five = dense_hessian(model, nn.functional.mse_loss, (inputs[:5], targets[:5]))
    vector = random_vector(subset)
    assert_relatively_close(subset @ vector, first_five @ vector, 1e-10)


@pytest.mark.parametrize(("fraction", "samples"), [(0.07, 7), (0.1, 10), (0.101, 11), (1.0, 100), (1e-9, 1)])
def test_a_subset_holds_the_ceiling_of_its_fraction(fraction: float, samples: int) -> None:
    op = HessianOperator(nn.Linear(3, 2).double(), nn.functional.mse_loss, vectors(100))
    assert f"samples={samples}," in repr(op.subset(fraction))


def test_products_add_up_and_a_subset_counts_as_its_share() -> None:
    op = mse_operator()
    vector = random_vector(op)
    op @ vector
    assert op.products == 1.0
    subset = op.subset(0.2)
    assert subset.products == 0.0
    for _ in range(5):
        subset @ vector
    assert (subset.products, op.products) == (5.0, 2.0)
    half = subset.subset(0.5)
    half @ vector
    assert (half.products, subset.products, op.products) == (1.0, 5.5, 2.1)


def test_products_follow_the_parameters() -> None:
    model = smooth().double()
    op = mse_operator(model)
    vector = random_vector(op)
    before = op @ vector
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    after = op @ vector
    assert not torch.allclose(before, after)
    assert_relatively_close(after, dense_hessian(model, nn.functional.mse_loss, vectors()) @ vector, 1e-10)


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


def test_nan_in_the_data_gives_nan_and_no_wrong_reason() -> None:
    inputs, targets = vectors()
    inputs[4, 0] = torch.nan
    op = HessianOperator(smooth().double(), nn.functional.mse_loss, (inputs, targets), chunk_size=3)
    assert (op @ random_vector(op)).isnan().any()
