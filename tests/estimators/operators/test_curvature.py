"""The gradient that an operator's graphs have, against autograd; it costs no pass where graphs are kept."""

import pytest
import torch
from torch import Tensor, nn

from estimators import GaussNewtonOperator, HessianOperator
from estimators.operators.functional import FunctionalHessianOperator
from tests.estimators.cases import CASES, Case, as_list, counting_operator, random_vector, vectors

OPERATORS = [HessianOperator, GaussNewtonOperator, FunctionalHessianOperator]
every_operator = pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)


def expected(model: nn.Module, case: Case) -> Tensor:
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    loss = case.loss_fn(model(inputs), targets)
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


@every_operator
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_that_of_autograd(case: Case, kind: type[HessianOperator]) -> None:
    model = case.model()
    op = kind(model, case.loss_fn, case.batches(), case.chunk_size)
    torch.testing.assert_close(op.gradient(), expected(model, case), rtol=1e-10, atol=1e-13)
    assert op.products == 0.0


@every_operator
def test_it_changes_no_product_whenever_it_is_asked_for(kind: type[HessianOperator]) -> None:
    case = CASES[0]
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    vector = random_vector(op)
    alone, gradient = op @ vector, op.gradient()
    with op.keeping_graphs():
        for _ in range(2):
            assert torch.equal(op.gradient(), gradient)
            assert torch.equal(op @ vector, alone)


@every_operator
def test_under_inference_mode_too(kind: type[HessianOperator]) -> None:
    case = CASES[0]
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    with torch.inference_mode():
        gradient = op.gradient()
    assert torch.equal(gradient, op.gradient())


def test_it_passes_over_the_data_once_with_the_products_that_follow() -> None:
    model, op = counting_operator(memory_budget=2**40)
    with op.keeping_graphs():
        op.gradient()
        assert model.forwards == 4
        op @ random_vector(op)
        op.gradient()
    assert model.forwards == 4


@every_operator
def test_a_loss_that_is_linear_in_the_outputs_has_a_gradient(kind: type[HessianOperator]) -> None:
    inputs, targets = vectors(5)
    model = nn.Linear(inputs.shape[1], targets.shape[1]).to(inputs.dtype)
    op = kind(model, lambda outputs, _: outputs.sum(dim=1).mean(), (inputs, targets), 2)
    weight = inputs.mean(dim=0).expand(targets.shape[1], -1)
    torch.testing.assert_close(op.gradient(), torch.cat([weight.flatten(), torch.ones_like(targets[0])]))
    assert torch.count_nonzero(op @ random_vector(op)) == 0


@every_operator
def test_a_loss_that_knows_nothing_of_the_outputs_has_none(kind: type[HessianOperator]) -> None:
    inputs, targets = vectors(5)
    op = kind(nn.Linear(inputs.shape[1], 2).to(inputs.dtype), lambda _, labels: labels.mean(), (inputs, targets), 2)
    assert torch.count_nonzero(op.gradient()) == 0
