"""Curvature operators: gradient, subsets, views in smaller chunks, and the count of products."""

import pytest
import torch
from torch import Tensor, nn

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian
from estimators.operators.curvature import CurvatureOperator
from estimators.operators.functional import FunctionalHessianOperator
from tests.estimators.cases import (
    CASES,
    Case,
    as_list,
    assert_relatively_close,
    counting_operator,
    mse_operator,
    random_vector,
    smooth,
    vectors,
)

OPERATORS = [HessianOperator, GaussNewtonOperator, FunctionalHessianOperator]
every_operator = pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)


def expected(model: nn.Module, case: Case) -> Tensor:
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    loss = case.loss_fn(model(inputs), targets)
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


@every_operator
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient_equals_autograd(case: Case, kind: type[CurvatureOperator]) -> None:
    model = case.model()
    op = kind(model, case.loss_fn, case.batches(), case.chunk_size)
    torch.testing.assert_close(op.gradient(), expected(model, case), rtol=1e-10, atol=1e-13)
    assert op.products == 0.0


@every_operator
def test_computing_the_gradient_does_not_change_products(kind: type[CurvatureOperator]) -> None:
    case = CASES[0]
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    vector = random_vector(op)
    alone, gradient = op @ vector, op.gradient()
    with op.keeping_graphs():
        for _ in range(2):
            assert torch.equal(op.gradient(), gradient)
            assert torch.equal(op @ vector, alone)


@every_operator
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_without_validation_are_the_same(case: Case, kind: type[CurvatureOperator]) -> None:
    model = case.model()
    op, trusted = (kind(model, case.loss_fn, case.batches(), case.chunk_size, validate=flag) for flag in (True, False))
    vector = random_vector(op)
    assert torch.equal(op @ vector, trusted @ vector)
    assert torch.equal(op.gradient(), trusted.gradient())


@every_operator
def test_without_validation_a_wrong_loss_is_not_noticed(kind: type[CurvatureOperator]) -> None:
    def total(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets, reduction="sum")

    model, batches = smooth().double(), vectors()
    with pytest.raises(ValueError, match="loss_fn must be a mean over samples"):
        kind(model, total, batches)
    op = kind(model, total, batches, validate=False)
    assert bool((op @ torch.ones(op.size, dtype=op.dtype)).isfinite().all())


@every_operator
def test_the_gradient_under_inference_mode(kind: type[CurvatureOperator]) -> None:
    case = CASES[0]
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    with torch.inference_mode():
        gradient = op.gradient()
    assert torch.equal(gradient, op.gradient())


def test_the_gradient_shares_a_pass_with_the_products_after_it() -> None:
    model, op = counting_operator(memory_budget=2**40)
    with op.keeping_graphs():
        op.gradient()
        assert model.forwards == 4
        op @ random_vector(op)
        op.gradient()
    assert model.forwards == 4


@every_operator
def test_gradient_of_a_loss_linear_in_the_outputs(kind: type[CurvatureOperator]) -> None:
    inputs, targets = vectors(5)
    model = nn.Linear(inputs.shape[1], targets.shape[1]).to(inputs.dtype)
    op = kind(model, lambda outputs, _: outputs.sum(dim=1).mean(), (inputs, targets), 2)
    weight = inputs.mean(dim=0).expand(targets.shape[1], -1)
    torch.testing.assert_close(op.gradient(), torch.cat([weight.flatten(), torch.ones_like(targets[0])]))
    assert torch.count_nonzero(op @ random_vector(op)) == 0


@every_operator
def test_gradient_of_a_loss_independent_of_the_outputs_is_zero(kind: type[CurvatureOperator]) -> None:
    inputs, targets = vectors(5)
    op = kind(nn.Linear(inputs.shape[1], 2).to(inputs.dtype), lambda _, labels: labels.mean(), (inputs, targets), 2)
    assert torch.count_nonzero(op.gradient()) == 0


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


def test_a_fraction_outside_its_range_is_refused() -> None:
    for method in (mse_operator().subset, mse_operator().in_chunks):
        with pytest.raises(ValueError, match=r"fraction is 1.5, expected a number in \(0, 1\]"):
            method(1.5)


def test_smaller_chunks_give_the_same_matrix_and_add_to_the_product_count() -> None:
    op = mse_operator(chunk_size=5)
    view = op.in_chunks(0.2)
    assert view.chunk_size == 2 and op.in_chunks(0.5) is op
    vector = random_vector(op)
    assert_relatively_close(view @ vector, op @ vector, 1e-12)
    assert (view.products, op.products) == (1.0, 2.0)


def test_chunkwise_pass_counts_as_its_share_of_the_samples() -> None:
    op = mse_operator(chunk_size=3)
    products: list[Tensor] = []

    def update(vector: Tensor, product: Tensor) -> Tensor:
        products.append(product)
        return vector + 1.0

    start = random_vector(op)
    assert torch.equal(op.chunkwise(start, update, max_chunks=2), start + 1.0 + 1.0)
    assert (len(products), op.products) == (2, 0.6)
    assert_relatively_close(products[0], op.subset(0.3) @ start, 1e-12)


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


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_an_empty_chunk_is_refused(chunk_size: int) -> None:
    with pytest.raises(ValueError, match=f"chunk_size is {chunk_size}, expected at least 1"):
        mse_operator(chunk_size=chunk_size)
